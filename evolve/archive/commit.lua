-- Takes a child in: the fence, the duplicate check, every index, the end of its entry in the stream of work, and its
-- event, in one step.
-- ARGV[2] proposal, ARGV[3] attempt, ARGV[4] id, ARGV[5] record, ARGV[6] member ("" if it failed),
-- ARGV[7] score or fault, ARGV[8] uniforms, msgpack,
-- ARGV[9] findings, msgpack: {operator, improved, repairable, behaviour, means by opponent, effort by name, notes,
--         and where an elite was re-scored its id, revision, new record ("" if it failed), score and means},
-- ARGV[10] event by outcome, msgpack
-- Returns the outcome, nil if there is no such proposal.
local proposal, attempt, id, record, member = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
local island = proposal % settings.num_islands
local findings = cmsgpack.unpack(ARGV[9])
local _, _, _, failures, recent = island_keys(island)

local function take_in(on_time)
  if on_time then
    redis.call('HINCRBY', STATE, 'stalled:' .. island, 1)
  end
  if redis.call('HSETNX', PROGRAMS, id, record) == 0 then
    return 'duplicate'
  end
  local arrival = state_number('committed') .. ':' .. id
  redis.call('HSETNX', INDEX, 'seen:' .. id, arrival)
  if findings.behaviour ~= '' then
    redis.call('HSETNX', INDEX, 'seen:' .. findings.behaviour, arrival)
  end
  if on_time and settings.notes_interval > 0 then
    redis.call('RPUSH', recent, id)
    redis.call('LTRIM', recent, -settings.notes_interval, -1)
  end
  if member == '' then
    redis.call('HINCRBY', STATE, 'failure:' .. ARGV[7], 1)
    if on_time and findings.repairable == 1 then
      redis.call('RPUSH', failures, id)
      redis.call('LTRIM', failures, -KEPT_FAILURES, -1)
    end
    return 'failed'
  end
  local score = tonumber(ARGV[7])
  redis.call('ZADD', RANKING, exact(-score), member)
  redis.call('HSET', INDEX, 'member:' .. id, member)
  challenge(id, findings.means)
  if not on_time then
    return 'stale_island'
  end
  register(island, member, score)
  return 'added'
end

local function count(kind)
  redis.call('HINCRBY', STATE, 'made:' .. kind, 1)
  redis.call('HINCRBY', STATE, 'scored:' .. kind, member == '' and 0 or 1)
  redis.call('HINCRBY', STATE, 'improved:' .. kind, findings.improved)
end

local function revise_elite(elite)
  local held = redis.call('HGET', INDEX, 'member:' .. elite.id)
  if not held or not redis.call('ZSCORE', RANKING, held) or revision_of(elite.id) ~= elite.revision then
    return
  end
  local score = elite.record ~= '' and elite.score or nil
  if score then
    redis.call('ZADD', RANKING, exact(-score), held)
    local moments = redis.call('HGET', INDEX, 'revised:' .. elite.id) or ''
    redis.call('HSET', INDEX, 'revision:' .. elite.id, elite.revision + 1,
      'revised:' .. elite.id, moments .. ' ' .. state_number('committed'))
    redis.call('HSET', PROGRAMS, elite.id .. '@' .. (elite.revision + 1), elite.record)
  else
    redis.call('ZREM', RANKING, held)
  end
  local dethroned = 0
  for each = 0, settings.num_islands - 1 do
    dethroned = math.max(dethroned, revise(each, held, score))
  end
  local champions = redis.call('HGETALL', CHAMPIONS)
  for position = 1, #champions, 2 do
    if string.match(champions[position + 1], ' (.+)$') == elite.id then
      if score then
        redis.call('HSET', CHAMPIONS, champions[position], exact(elite.means[champions[position]]) .. ' ' .. elite.id)
      else
        redis.call('HDEL', CHAMPIONS, champions[position])
      end
    end
  end
  redis.call('HINCRBY', STATE, 'effort:rescored', 1)
  redis.call('HINCRBY', STATE, 'effort:false_elites', dethroned)
end

local consumer, held_attempt = holder(proposal)
local fields = redis.call('HMGET', PROPOSALS, proposal .. ':outcome', proposal .. ':attempt', proposal .. ':epoch',
  proposal .. ':drawn')
if not consumer and not fields[1] then
  return nil
end
if (held_attempt or tonumber(fields[2])) ~= attempt then
  return 'stale_lease'
end
if fields[1] then
  return fields[1]
end
local uniforms = cmsgpack.unpack(ARGV[8])
local outcome = take_in(tonumber(fields[3]) == state_number('epoch:' .. island))
count('operator:' .. findings.operator)
local variant = fields[4] and string.match(fields[4], '^[^|]*|([^|]*)|') or ''
if variant ~= '' then
  count('variant:' .. variant)
end
for name, amount in pairs(findings.effort) do
  redis.call('HINCRBY', STATE, 'effort:' .. name, amount)
end
if findings.elite then
  revise_elite(findings.elite)
end
if findings.notes ~= '' then
  local number = redis.call('HINCRBY', STATE, 'notes:' .. island, 1)
  redis.call('HSET', NOTES, island .. ':' .. number, findings.notes)
  redis.call('HINCRBY', STATE, 'written', 1)
end
redis.call('HSET', PROPOSALS, proposal .. ':outcome', outcome, proposal .. ':attempt', attempt)
redis.call('XACK', WORK, GROUP, entry_of(proposal))
redis.call('XDEL', WORK, entry_of(proposal))
redis.call('XGROUP', 'DELCONSUMER', WORK, GROUP, consumer)
redis.call('HINCRBY', STATE, 'outcome:' .. outcome, 1)
redis.call('RPUSH', OPERATIONS, 'commit:' .. proposal)
local event = cmsgpack.unpack(ARGV[10])[outcome]
if event then
  redis.call('RPUSH', EVENTS, event)
end
local committed = redis.call('HINCRBY', STATE, 'committed', 1)
if settings.reset_interval > 0 and committed % settings.reset_interval == 0 then
  reset_weaker_half(uniforms)
end
if settings.stagnation_action == 'reseed' and settings.stagnation_limit > 0
    and state_number('stalled:' .. island) >= settings.stagnation_limit then
  reseed(island, uniforms[island + 1])
end
if settings.migration_interval > 0 and committed % settings.migration_interval == 0 then
  migrate(uniforms)
end
return outcome
