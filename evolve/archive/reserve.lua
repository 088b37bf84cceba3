-- Sets an estimate aside for a request, unless it is known already or a limit would be passed.
-- KEYS 1 spent (hash of amounts), 2 held (hash of amounts), 3 entries (hash: request -> reserved amounts, or "settled")
-- ARGV 1 request; 2-6 calls, tokens in, tokens out, micro-dollars, unpriced calls;
--      7-9 limits on calls, tokens and micro-dollars, "" for none
-- Returns 1 when it is set aside, 0 if the request is known, else {name of the limit, spent and reserved so far}.
local AMOUNTS = { 'llm_calls', 'tokens_in', 'tokens_out', 'micro_usd', 'unpriced_calls' }
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 then
  return 0
end
local spent, held = redis.call('HMGET', KEYS[1], unpack(AMOUNTS)), redis.call('HMGET', KEYS[2], unpack(AMOUNTS))
local used, more = {}, {}
for position = 1, 5 do
  used[position] = tonumber(spent[position] or 0) + tonumber(held[position] or 0)
  more[position] = tonumber(ARGV[1 + position])
end
local checks = {
  { 'llm_calls', ARGV[7], used[1], more[1] },
  { 'tokens', ARGV[8], used[2] + used[3], more[2] + more[3] },
  { 'usd', ARGV[9], used[4], more[4] },
}
for _, check in ipairs(checks) do
  if check[2] ~= '' and check[3] + check[4] > tonumber(check[2]) then
    return { check[1], string.format('%.0f', check[3]) }
  end
end
redis.call('HSET', KEYS[3], ARGV[1], table.concat(ARGV, ' ', 2, 6))
for position = 1, 5 do
  redis.call('HINCRBY', KEYS[2], AMOUNTS[position], ARGV[1 + position])
end
return 1
