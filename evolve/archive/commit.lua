-- Takes a child in: the fence, the duplicate check, every index and the closing of its proposal, in one step.
-- ARGV[2] proposal, ARGV[3] attempt, ARGV[4] id, ARGV[5] record, ARGV[6] member ("" if it failed),
-- ARGV[7] score or fault, ARGV[8] uniforms, msgpack
-- Returns the outcome, nil if there is no such proposal.
local proposal, attempt, id, record, member = tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local island = proposal % settings.num_islands

local function take_in(drawn_epoch)
  if redis.call('HSETNX', PROGRAMS, id, record) == 0 then
    return 'duplicate'
  end
  if member == '' then
    redis.call('HINCRBY', STATE, 'failure:' .. ARGV[7], 1)
    return 'failed'
  end
  local score = tonumber(ARGV[7])
  redis.call('ZADD', RANKING, exact(-score), member)
  if drawn_epoch ~= state_number('epoch:' .. island) then
    return 'stale_island'
  end
  register(island, member, score)
  return 'added'
end

local fields = redis.call('HMGET', PROPOSALS, proposal .. ':attempt', proposal .. ':outcome', proposal .. ':epoch',
  proposal .. ':nonce')
if not fields[1] then
  return nil
end
if fields[1] ~= attempt then
  return 'stale_lease'
end
if fields[2] then
  return fields[2]
end
local outcome = take_in(tonumber(fields[3]))
redis.call('HSET', PROPOSALS, proposal .. ':outcome', outcome)
redis.call('HDEL', CLAIMS, fields[4])
redis.call('ZREM', LEASES, string.format('%010d', proposal))
redis.call('HINCRBY', STATE, 'outcome:' .. outcome, 1)
redis.call('RPUSH', OPERATIONS, 'commit:' .. proposal)
local committed = redis.call('HINCRBY', STATE, 'committed', 1)
if settings.reset_interval > 0 and committed % settings.reset_interval == 0 then
  reset_weaker_half(cmsgpack.unpack(ARGV[8]))
end
if settings.migration_interval > 0 and committed % settings.migration_interval == 0 then
  migrate()
end
return outcome
