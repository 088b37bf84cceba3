-- Takes amounts from several buckets, all or none. The server's clock is the one that all processes share.
-- KEYS the buckets (hashes: level, at_s). ARGV for each bucket: amount, capacity, what it fills by in a second
-- Returns "0" if taken, else the seconds until they may be there.
local clock = redis.call('TIME')
local now_s = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local levels, wait_s = {}, 0
for index, key in ipairs(KEYS) do
  local amount, capacity, per_s = tonumber(ARGV[3 * index - 2]), tonumber(ARGV[3 * index - 1]), tonumber(ARGV[3 * index])
  local known = redis.call('HMGET', key, 'level', 'at_s')
  local level = tonumber(known[1] or capacity) + math.max(0, now_s - tonumber(known[2] or now_s)) * per_s
  levels[index] = math.min(capacity, level)
  wait_s = math.max(wait_s, (math.min(amount, capacity) - levels[index]) / per_s)
end
if wait_s > 0.000001 then
  return string.format('%.6f', wait_s)
end
for index, key in ipairs(KEYS) do
  local capacity, per_s = tonumber(ARGV[3 * index - 1]), tonumber(ARGV[3 * index])
  local level = levels[index] - tonumber(ARGV[3 * index - 2])
  redis.call('HSET', key, 'level', string.format('%.6f', level), 'at_s', string.format('%.6f', now_s))
  -- A bucket that is full again need not be remembered.
  redis.call('PEXPIRE', key, math.ceil((capacity - level) / per_s * 1000) + 1000)
end
return '0'
