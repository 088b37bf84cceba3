-- Prolongs the leases of present holders.
-- ARGV[2], ARGV[3] a proposal and the attempt of its holder, and so on in pairs
-- Returns for each 1 if it was, 0 if the caller is no longer the holder, -1 if there is no such proposal.
local answers = {}
for position = 2, #ARGV, 2 do
  local proposal = tonumber(ARGV[position])
  local consumer, attempt = holder(proposal)
  if not consumer then
    answers[#answers + 1] = redis.call('HEXISTS', PROPOSALS, proposal .. ':outcome') - 1
  elseif attempt ~= tonumber(ARGV[position + 1]) then
    answers[#answers + 1] = 0
  else
    redis.call('XCLAIM', WORK, GROUP, consumer, 0, entry_of(proposal), 'JUSTID')
    answers[#answers + 1] = 1
  end
end
return answers
