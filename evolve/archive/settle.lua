-- Ends the reservation of a request: charged (once, whether it was reserved or not), or given back.
-- KEYS as in reserve.lua. ARGV 1 request; 2-6 the amounts charged, or nothing more to give the reservation back
local AMOUNTS = { 'llm_calls', 'tokens_in', 'tokens_out', 'micro_usd', 'unpriced_calls' }
local entry = redis.call('HGET', KEYS[3], ARGV[1])
if entry == 'settled' or (not entry and #ARGV == 1) then
  return 0
end
local position = 1
for amount in string.gmatch(entry or '', '%d+') do
  redis.call('HINCRBY', KEYS[2], AMOUNTS[position], 0 - tonumber(amount))
  position = position + 1
end
if #ARGV == 1 then
  redis.call('HDEL', KEYS[3], ARGV[1])
  return 1
end
redis.call('HSET', KEYS[3], ARGV[1], 'settled')
for index = 1, 5 do
  redis.call('HINCRBY', KEYS[1], AMOUNTS[index], ARGV[1 + index])
end
return 1
