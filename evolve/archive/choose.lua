-- Gives a prompt to a model, unless it was given before to one that can still be asked.
-- KEYS 1 chosen (hash: prompt -> model). ARGV 1 prompt, 2 model, then all models that can be asked
-- Returns the model that the prompt belongs to.
local before = redis.call('HGET', KEYS[1], ARGV[1])
for position = 3, #ARGV do
  if before == ARGV[position] then
    return before
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return ARGV[2]
