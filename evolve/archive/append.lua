-- Appends a record once, however often a client that lost the answer repeats the call within ten minutes.
-- KEYS 1 list, 2 mark of this call. ARGV 1 record
if redis.call('SET', KEYS[2], 1, 'NX', 'EX', 600) then
  redis.call('RPUSH', KEYS[1], ARGV[1])
end
return 1
