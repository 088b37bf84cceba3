-- Keeps the first record of a key, and the order in which keys came.
-- KEYS 1 records (hash), 2 order (list). ARGV 1 key, 2 record
-- Returns nil if this one is kept now, else the one that was.
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then
  return redis.call('HGET', KEYS[1], ARGV[1])
end
redis.call('RPUSH', KEYS[2], ARGV[1])
return nil
