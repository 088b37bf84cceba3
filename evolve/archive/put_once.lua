-- Keeps the first record of a key, and the order in which keys came.
-- KEYS 1 records (hash), 2 order (list). ARGV 1 key, 2 record
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 1 then
  redis.call('RPUSH', KEYS[2], ARGV[1])
end
return 1
