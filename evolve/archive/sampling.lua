-- evolve/archive/sampling.py, operation by operation in the same order. Put after island.lua.

local CONSIDERED_CLUSTERS, EXPLORATION_HEAT, REVISIONS, DECISIONS = 64, 10.0, 4, 4

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

local function is_stagnant(island)
  return settings.stagnation_limit > 0 and settings.stagnation_limit <= state_number('stalled:' .. island)
end

local function temperature(island)
  if is_stagnant(island) then
    return settings.temperature * EXPLORATION_HEAT
  end
  if settings.temperature_period == 0 then
    return settings.temperature
  end
  local elapsed = state_number('registered:' .. island) % settings.temperature_period
  return settings.temperature * (1.0 - elapsed / settings.temperature_period)
end

local function clusters_of(island, taken)
  local _, clusters, members = island_keys(island)
  local found = redis.call('ZRANGE', clusters, 0, CONSIDERED_CLUSTERS - 1, 'WITHSCORES')
  local list = {}
  for position = 1, #found, 2 do
    local lengths, ids = {}, {}
    for length, id in string.gmatch(redis.call('HGET', members, found[position]), '(%d+):([^,]+)') do
      if id ~= taken then
        lengths[#lengths + 1] = tonumber(length)
        ids[#ids + 1] = id
      end
    end
    list[#list + 1] = { score = -tonumber(found[position + 1]), lengths = lengths, ids = ids }
  end
  return list
end

local function cluster_weights(list, heat)
  local weights = {}
  for position, cluster in ipairs(list) do
    if settings.selection == 'map_elites' then
      weights[position] = 1.0
    else
      weights[position] = math.exp((cluster.score - list[1].score) / settings.return_scale / heat)
    end
  end
  return weights
end

local function length_weights(lengths)
  local span, weights = lengths[#lengths] + 1e-6, {}
  for position, length in ipairs(lengths) do
    if settings.length_temperature == 0 then
      weights[position] = 1.0
    else
      weights[position] = math.exp(-((length - lengths[1]) / span) / settings.length_temperature)
    end
  end
  return weights
end

local function choose_operator(uniform, stagnant, can_fix)
  if uniform < settings.fix_share then
    return can_fix and 'fix' or 'full'
  end
  if uniform < settings.fix_share + settings.crossover_share then
    return 'crossover'
  end
  if uniform < settings.fix_share + settings.crossover_share + settings.edit_share then
    return stagnant and 'full' or 'edit'
  end
  return 'full'
end

local function choose_variant(uniform)
  local weights = {}
  for position, name in ipairs(settings.variants) do
    local improved, made = state_number('improved:variant:' .. name), state_number('made:variant:' .. name)
    weights[position] = (improved + 1.0) / (made + 2.0)
  end
  return #weights > 0 and settings.variants[choose(weights, uniform)] or ''
end

local function nonempty(list)
  local fresh = {}
  for _, cluster in ipairs(list) do
    if #cluster.ids > 0 then
      fresh[#fresh + 1] = cluster
    end
  end
  return fresh
end

local function draw_programs(island, count, taken, uniforms)
  local heat, list, drawn = temperature(island), clusters_of(island, taken), {}
  local fresh = nonempty(list)
  for turn = 0, count - 1 do
    if #fresh == 0 then
      fresh = nonempty(list)
    end
    if #fresh == 0 then
      break
    end
    local cluster = table.remove(fresh, choose(cluster_weights(fresh, heat), uniforms[DECISIONS + 2 * turn + 1]))
    local position = choose(length_weights(cluster.lengths), uniforms[DECISIONS + 2 * turn + 2])
    table.remove(cluster.lengths, position)
    drawn[#drawn + 1] = table.remove(cluster.ids, position)
  end
  return drawn
end

local function choose_champion(uniform)
  local opponents = redis.call('HKEYS', CHAMPIONS)
  table.sort(opponents)
  local champion = redis.call('HGET', CHAMPIONS, opponents[math.floor(uniform * #opponents) + 1])
  return string.match(champion, ' (.+)$')
end

local function reference(id)
  local revision = revision_of(id)
  return revision > 0 and id .. '@' .. revision or id
end

local function is_due(interval, turn)
  return interval > 0 and (turn + 1) % interval == 0
end

local function slice(list, first, last)
  return table.concat(list, ',', first, math.min(last, #list))
end

-- The draw as one line: operator|variant|commits so far|number of notes|elite|parents|inspirations|recent
local function draw(island, turn, uniforms)
  local _, _, _, failures, recent = island_keys(island)
  local stagnant = is_stagnant(island)
  if stagnant then
    count_upkeep('explored')
  end
  local operator = choose_operator(uniforms[1], stagnant, redis.call('LLEN', failures) > 0)
  local parents, wanted, taken = {}, 1, ''
  if operator == 'fix' then
    parents[1], wanted = redis.call('RPOP', failures), 0
  elseif operator == 'crossover' then
    wanted = 2
  end
  if wanted > 0 and redis.call('HLEN', CHAMPIONS) > 0 and uniforms[3] < settings.specialist_share then
    taken = choose_champion(uniforms[4])
    count_upkeep('specialists')
    parents[1], wanted = reference(taken), wanted - 1
  end
  local others = draw_programs(island, wanted + settings.num_inspirations, taken, uniforms)
  for position, id in ipairs(others) do
    others[position] = reference(id)
  end
  for position = 1, math.min(wanted, #others) do
    parents[#parents + 1] = others[position]
  end
  local elite, best = '', id_of(top(island, 1)[1])
  if is_due(settings.rescore_interval, turn) and revision_of(best) < REVISIONS then
    elite = reference(best)
  end
  local tried = is_due(settings.notes_interval, turn) and redis.call('LRANGE', recent, 0, -1) or {}
  return table.concat({
    operator == 'crossover' and #parents < 2 and 'full' or operator,
    choose_variant(uniforms[2]),
    state_number('committed'),
    state_number('notes:' .. island),
    elite,
    slice(parents, 1, #parents),
    slice(others, wanted + 1, #others),
    slice(tried, 1, #tried),
  }, '|')
end
