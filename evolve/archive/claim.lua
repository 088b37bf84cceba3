-- Leases the next proposal: the one whose lease ended first, else a new one. Repeated with one nonce, it answers alike.
-- ARGV[2] nonce of this claim, ARGV[3] now
-- Returns {proposal, attempt, epoch of its island}, nil if none is free, 0 if there are no founders yet.
if redis.call('HEXISTS', STATE, 'founded') == 0 then
  return 0
end

local function ticket(proposal)
  local epoch = state_number('epoch:' .. proposal % settings.num_islands)
  return { proposal, tonumber(redis.call('HGET', PROPOSALS, proposal .. ':attempt')), epoch }
end

local nonce, now = ARGV[2], tonumber(ARGV[3])
local claimed = redis.call('HGET', CLAIMS, nonce)
if claimed then
  return ticket(tonumber(claimed))
end
local proposal
local expired = redis.call('ZRANGEBYSCORE', LEASES, '-inf', '(' .. ARGV[3], 'LIMIT', 0, 1)[1]
if expired then
  proposal = tonumber(expired)
  redis.call('HDEL', CLAIMS, redis.call('HGET', PROPOSALS, proposal .. ':nonce'))
else
  proposal = state_number('next')
  if proposal >= settings.proposals then
    return nil
  end
  redis.call('HINCRBY', STATE, 'next', 1)
end
redis.call('HINCRBY', PROPOSALS, proposal .. ':attempt', 1)
redis.call('HSET', PROPOSALS, proposal .. ':nonce', nonce)
redis.call('HSET', CLAIMS, nonce, proposal)
if redis.call('HEXISTS', PROPOSALS, proposal .. ':drawn') == 0 then
  redis.call('HSET', PROPOSALS, proposal .. ':epoch', state_number('epoch:' .. proposal % settings.num_islands))
end
redis.call('ZADD', LEASES, exact(now + settings.lease_s), string.format('%010d', proposal))
return ticket(proposal)
