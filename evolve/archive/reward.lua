-- Books the outcome of one answer with the arm that gave it, once, and fades what all arms did before.
-- KEYS 1 answers booked (set), 2 arms (hash: "trials:MODEL", "successes:MODEL", "cost:MODEL")
-- ARGV 1 request, 2 model, 3 success in [0, 1], 4 cost, 5 factor by which the past fades
if redis.call('SADD', KEYS[1], ARGV[1]) == 0 then
  return 0
end
local fields = redis.call('HGETALL', KEYS[2])
for position = 1, #fields, 2 do
  redis.call('HSET', KEYS[2], fields[position], string.format('%.12g', tonumber(fields[position + 1]) * tonumber(ARGV[5])))
end
for name, amount in pairs({ trials = '1', successes = ARGV[3], cost = ARGV[4] }) do
  redis.call('HINCRBYFLOAT', KEYS[2], name .. ':' .. ARGV[2], amount)
end
return 1
