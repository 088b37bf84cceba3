-- Prolongs the lease of the present holder.
-- ARGV[2] proposal, ARGV[3] attempt
-- Returns 1 if it was, 0 if the caller is no longer the holder, nil if there is no such proposal.
local proposal = tonumber(ARGV[2])
local consumer, attempt = holder(proposal)
if not consumer then
  return redis.call('HEXISTS', PROPOSALS, proposal .. ':outcome') == 1 and 0 or nil
end
if attempt ~= tonumber(ARGV[3]) then
  return 0
end
redis.call('XCLAIM', WORK, GROUP, consumer, 0, entry_of(proposal), 'JUSTID')
return 1
