-- evolve/archive/upkeep.py, operation by operation in the same order. Put after island.lua.

local function migrate(uniforms)
  local travellers, count = {}, settings.num_islands
  for island = 0, count - 1 do
    travellers[island] = settings.migrants > 0 and top(island, settings.migrants) or {}
  end
  for island = 0, count - 1 do
    local step, group_of = 1, travellers[island]
    if settings.migration == 'random' and count > 1 then
      step = 1 + math.floor(uniforms[count + island + 1] * (count - 1))
    end
    local target = (island + step) % count
    for position = 1, #group_of, 2 do
      local ranking = island_keys(target)
      if not redis.call('ZSCORE', ranking, group_of[position]) then
        register(target, group_of[position], -tonumber(group_of[position + 1]))
        count_upkeep('migrated')
      end
    end
  end
end

local function by_strength()
  local order = {}
  for island = 0, settings.num_islands - 1 do
    local ranking = island_keys(island)
    local mean = state_number('total:' .. island) / redis.call('ZCARD', ranking)
    order[island + 1] = { island = island, best = -tonumber(top(island, 1)[2]), mean = mean }
  end
  table.sort(order, function(one, other)
    if one.best ~= other.best then
      return one.best < other.best
    end
    if one.mean ~= other.mean then
      return one.mean < other.mean
    end
    return one.island < other.island
  end)
  return order
end

local function reset_weaker_half(uniforms)
  local order, survivors = by_strength(), {}
  local weak = math.floor(settings.num_islands / 2)
  for position = weak + 1, #order do
    survivors[#survivors + 1] = order[position].island
  end
  table.sort(survivors)
  for position = 1, weak do
    local island = order[position].island
    local founder = top(survivors[math.floor(uniforms[island + 1] * #survivors) + 1], 1)
    refound(island, founder[1], -tonumber(founder[2]))
    count_upkeep('reset')
  end
end

local function reseed(island, uniform)
  local count = settings.num_islands
  if count < 2 then
    return
  end
  local founder = top((island + 1 + math.floor(uniform * (count - 1))) % count, 1)
  refound(island, founder[1], -tonumber(founder[2]))
  redis.call('HINCRBY', STATE, 'reseeded', 1)
end
