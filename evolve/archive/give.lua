-- Puts an amount back into a bucket that is remembered; one that is not is full. A negative amount is taken.
-- KEYS and ARGV as in take.lua, for one bucket
local amount, capacity, per_s = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now_s = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local known = redis.call('HMGET', KEYS[1], 'level', 'at_s')
local level = tonumber(known[1] or capacity) + math.max(0, now_s - tonumber(known[2] or now_s)) * per_s
level = math.min(capacity, math.min(capacity, level) + amount)
redis.call('HSET', KEYS[1], 'level', string.format('%.6f', level), 'at_s', string.format('%.6f', now_s))
redis.call('PEXPIRE', KEYS[1], math.ceil((capacity - level) / per_s * 1000) + 1000)
return 1
