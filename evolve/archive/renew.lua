-- Prolongs the lease of the present holder.
-- ARGV[2] proposal, ARGV[3] attempt, ARGV[4] now
-- Returns 1 if it was, 0 if the caller is no longer the holder, nil if there is no such proposal.
local proposal = ARGV[2]
local fields = redis.call('HMGET', PROPOSALS, proposal .. ':attempt', proposal .. ':outcome')
if not fields[1] then
  return nil
end
if fields[2] or fields[1] ~= ARGV[3] then
  return 0
end
redis.call('ZADD', LEASES, exact(tonumber(ARGV[4]) + settings.lease_s), string.format('%010d', tonumber(proposal)))
return 1
