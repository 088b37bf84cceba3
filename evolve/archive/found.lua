-- Starts every island from the scored founders, once.
-- ARGV[2] founders, msgpack: a list of {id, record, member, score, means by opponent, behaviour},
-- member "" for one that failed
if redis.call('HSETNX', STATE, 'founded', 1) == 0 then
  return 0
end
redis.call('XGROUP', 'CREATE', WORK, GROUP, '0', 'MKSTREAM')
local founders = cmsgpack.unpack(ARGV[2])
for _, founder in ipairs(founders) do
  redis.call('HSET', PROGRAMS, founder[1], founder[2])
  redis.call('HSET', INDEX, 'seen:' .. founder[1], '-1:' .. founder[1])
  if founder[3] ~= '' then
    redis.call('ZADD', RANKING, exact(-founder[4]), founder[3])
    redis.call('HSET', INDEX, 'member:' .. founder[1], founder[3])
    challenge(founder[1], founder[5])
    if founder[6] ~= '' then
      redis.call('HSETNX', INDEX, 'seen:' .. founder[6], '-1:' .. founder[1])
    end
  end
end
for island = 0, settings.num_islands - 1 do
  for _, founder in ipairs(founders) do
    if founder[3] ~= '' then
      register(island, founder[3], founder[4])
    end
  end
end
return 1
