-- The mathematics of evolve/archive/island.py, operation by operation in the same order, over an archive's keys.
-- Put before every script that needs it. Redis 6.2 commands only; random numbers come in ARGV.
--
-- KEYS    1 state (hash: founded, next, committed, outcome:*, failure:*; epoch:i, registered:i, total:i per island)
--         2 programs (hash: id -> record)         3 ranking of all scored programs (zset: member -> -score)
--         4 leases (zset: proposal -> end)        5 proposals (hash: "<i>:attempt|epoch|drawn|outcome|nonce")
--         6 operations (list)                     7 claims (hash: nonce -> proposal)
--         8+3i, 9+3i, 10+3i: of island i, its ranking (zset as 3), its clusters (zset: signature -> -best score)
--         and their members (hash: signature -> shortest members, comma separated)
-- member  "<length, 10 digits>:<program id>:<signature>": equal scores then sort by length and id.
-- ARGV[1] the archive's settings, msgpack

local STATE, PROGRAMS, RANKING, LEASES, PROPOSALS, OPERATIONS, CLAIMS = unpack(KEYS, 1, 7)
local settings = cmsgpack.unpack(ARGV[1])
local CONSIDERED_CLUSTERS, CLUSTER_MEMBERS = 64, 32

local function island_keys(island)
  return KEYS[8 + 3 * island], KEYS[9 + 3 * island], KEYS[10 + 3 * island]
end

local function exact(number)
  return string.format('%.17g', number)
end

local function state_number(field)
  return tonumber(redis.call('HGET', STATE, field) or 0)
end

local function choose(weights, uniform)
  local total = 0.0
  for _, weight in ipairs(weights) do
    total = total + weight
  end
  local threshold, reached = uniform * total, 0.0
  for index, weight in ipairs(weights) do
    reached = reached + weight
    if threshold < reached then
      return index
    end
  end
  return #weights
end

local function register(island, member, score)
  local ranking, clusters, members = island_keys(island)
  redis.call('ZADD', ranking, exact(-score), member)
  local short, signature = string.match(member, '^(%d+:[^:]+):(.+)$')
  local known = redis.call('ZSCORE', clusters, signature)
  if not known or -score < tonumber(known) then
    redis.call('ZADD', clusters, exact(-score), signature)
  end
  local kept = { short }
  for each in string.gmatch(redis.call('HGET', members, signature) or '', '[^,]+') do
    kept[#kept + 1] = each
  end
  table.sort(kept)
  redis.call('HSET', members, signature, table.concat(kept, ',', 1, math.min(#kept, CLUSTER_MEMBERS)))
  redis.call('HINCRBY', STATE, 'registered:' .. island, 1)
  redis.call('HSET', STATE, 'total:' .. island, exact(state_number('total:' .. island) + score))
end

local function clusters_of(island)
  local _, clusters, members = island_keys(island)
  local found = redis.call('ZRANGE', clusters, 0, CONSIDERED_CLUSTERS - 1, 'WITHSCORES')
  local list = {}
  for position = 1, #found, 2 do
    local lengths, ids = {}, {}
    for length, id in string.gmatch(redis.call('HGET', members, found[position]), '(%d+):([^,]+)') do
      lengths[#lengths + 1] = tonumber(length)
      ids[#ids + 1] = id
    end
    list[#list + 1] = { score = -tonumber(found[position + 1]), lengths = lengths, ids = ids }
  end
  return list
end

local function cluster_weights(list, heat)
  local weights = {}
  for position, cluster in ipairs(list) do
    weights[position] = math.exp((cluster.score - list[1].score) / settings.return_scale / heat)
  end
  return weights
end

local function length_weights(lengths)
  local span, weights = lengths[#lengths] + 1e-6, {}
  for position, length in ipairs(lengths) do
    weights[position] = math.exp(-((length - lengths[1]) / span) / settings.length_temperature)
  end
  return weights
end

local function draw(island, uniforms)
  local elapsed = state_number('registered:' .. island) % settings.temperature_period
  local heat = settings.temperature * (1.0 - elapsed / settings.temperature_period)
  local list, fresh, drawn = clusters_of(island), {}, {}
  for turn = 0, settings.num_parents + settings.num_inspirations - 1 do
    if #fresh == 0 then
      for _, cluster in ipairs(list) do
        if #cluster.ids > 0 then
          fresh[#fresh + 1] = cluster
        end
      end
    end
    if #fresh == 0 then
      break
    end
    local cluster = table.remove(fresh, choose(cluster_weights(fresh, heat), uniforms[2 * turn + 1]))
    local position = choose(length_weights(cluster.lengths), uniforms[2 * turn + 2])
    table.remove(cluster.lengths, position)
    drawn[#drawn + 1] = table.remove(cluster.ids, position)
  end
  return drawn
end

local function top(island, count)
  local ranking = island_keys(island)
  return redis.call('ZRANGE', ranking, 0, count - 1, 'WITHSCORES')
end

local function migrate()
  local travellers = {}
  for island = 0, settings.num_islands - 1 do
    travellers[island] = settings.migrants > 0 and top(island, settings.migrants) or {}
  end
  for island = 0, settings.num_islands - 1 do
    local target, group = (island + 1) % settings.num_islands, travellers[island]
    for position = 1, #group, 2 do
      local ranking = island_keys(target)
      if not redis.call('ZSCORE', ranking, group[position]) then
        register(target, group[position], -tonumber(group[position + 1]))
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
    redis.call('DEL', island_keys(island))
    redis.call('HINCRBY', STATE, 'epoch:' .. island, 1)
    redis.call('HSET', STATE, 'registered:' .. island, 0, 'total:' .. island, 0)
    register(island, founder[1], -tonumber(founder[2]))
  end
end
