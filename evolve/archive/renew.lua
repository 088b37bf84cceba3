-- Prolongs the leases of present holders.
-- ARGV[2] now, ARGV[3], ARGV[4] a proposal and the attempt of its holder, and so on in pairs
-- Returns for each 1 if it was, 0 if the caller is no longer the holder, -1 if there is no such proposal.
local ends, answers = exact(tonumber(ARGV[2]) + settings.lease_s), {}
for position = 3, #ARGV, 2 do
  local proposal = ARGV[position]
  local fields = redis.call('HMGET', PROPOSALS, proposal .. ':attempt', proposal .. ':outcome')
  if not fields[1] then
    answers[#answers + 1] = -1
  elseif fields[2] or fields[1] ~= ARGV[position + 1] then
    answers[#answers + 1] = 0
  else
    redis.call('ZADD', LEASES, ends, string.format('%010d', tonumber(proposal)))
    answers[#answers + 1] = 1
  end
end
return answers
