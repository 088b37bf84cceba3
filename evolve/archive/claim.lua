-- Leases the next proposal: one whose lease has run out, else a new one. Repeated with one nonce, it answers alike.
-- ARGV[2] nonce of this claim
-- Returns {proposal, attempt, epoch of its island}, nil if none is free, 0 if there are no founders yet.
if redis.call('HEXISTS', STATE, 'founded') == 0 then
  return 0
end

local function ticket(id)
  local proposal = tonumber(string.match(id, '^%d+')) - 1
  local _, attempt = holder(proposal)
  local epoch = state_number('epoch:' .. proposal % settings.num_islands)
  if redis.call('HEXISTS', PROPOSALS, proposal .. ':drawn') == 0 then
    redis.call('HSET', PROPOSALS, proposal .. ':epoch', epoch)
  end
  return { proposal, attempt, epoch }
end

local nonce = ARGV[2]
local mine = redis.call('XPENDING', WORK, GROUP, '-', '+', 1, nonce)[1]
if mine then
  return ticket(mine[1])
end
local expired = redis.call('XPENDING', WORK, GROUP, 'IDLE', LEASE_MS, '-', '+', 1)[1]
if expired then
  redis.call('XCLAIM', WORK, GROUP, nonce, 0, expired[1])
  redis.call('XGROUP', 'DELCONSUMER', WORK, GROUP, expired[2])
  return ticket(expired[1])
end
local proposal = state_number('next')
if proposal >= settings.proposals then
  return nil
end
redis.call('HINCRBY', STATE, 'next', 1)
-- The proposal's number is all that is read back, as the entry's id. An entry needs a field: this one is for people who
-- look at the stream.
redis.call('XADD', WORK, entry_of(proposal), 'island', proposal % settings.num_islands)
redis.call('XREADGROUP', 'GROUP', GROUP, nonce, 'COUNT', 1, 'STREAMS', WORK, '>')
return ticket(entry_of(proposal))
