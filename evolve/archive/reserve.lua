-- Sets estimates aside for requests, one after the other, unless one is known already or would pass a limit.
-- KEYS 1 spent (hash of amounts), 2 held (hash of amounts), 3 entries (hash: request -> reserved amounts, or "settled")
-- ARGV 1-3 limits on calls, tokens and micro-dollars, "" for none; then for each request six: the request, and
--      calls, tokens in, tokens out, micro-dollars, unpriced calls
-- Returns for each request 1 when it is set aside, 0 if it is known, else {name of the limit, spent and reserved so far}.
local AMOUNTS = { 'llm_calls', 'tokens_in', 'tokens_out', 'micro_usd', 'unpriced_calls' }
local spent, held = redis.call('HMGET', KEYS[1], unpack(AMOUNTS)), redis.call('HMGET', KEYS[2], unpack(AMOUNTS))
local used = {}
for position = 1, 5 do
  used[position] = tonumber(spent[position] or 0) + tonumber(held[position] or 0)
end

local function refusal(more)
  local checks = {
    { 'llm_calls', ARGV[1], used[1], more[1] },
    { 'tokens', ARGV[2], used[2] + used[3], more[2] + more[3] },
    { 'usd', ARGV[3], used[4], more[4] },
  }
  for _, check in ipairs(checks) do
    if check[2] ~= '' and check[3] + check[4] > tonumber(check[2]) then
      return { check[1], string.format('%.0f', check[3]) }
    end
  end
end

local function reserve(first)
  local request, more = ARGV[first], {}
  if redis.call('HEXISTS', KEYS[3], request) == 1 then
    return 0
  end
  for position = 1, 5 do
    more[position] = tonumber(ARGV[first + position])
  end
  local refused = refusal(more)
  if refused then
    return refused
  end
  redis.call('HSET', KEYS[3], request, table.concat(ARGV, ' ', first + 1, first + 5))
  for position = 1, 5 do
    redis.call('HINCRBY', KEYS[2], AMOUNTS[position], ARGV[first + position])
    used[position] = used[position] + more[position]
  end
  return 1
end

local outcomes = {}
for first = 4, #ARGV, 6 do
  outcomes[#outcomes + 1] = reserve(first)
end
return outcomes
