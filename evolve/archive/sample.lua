-- Draws what a proposal is made from and remembers it for its later holders.
-- ARGV[2] proposal, ARGV[3] uniforms, msgpack
-- Returns the draw as draw() writes it; 0 if there is no such proposal, 1 if it was committed without any.
local proposal, uniforms = tonumber(ARGV[2]), cmsgpack.unpack(ARGV[3])
local fields = redis.call('HMGET', PROPOSALS, proposal .. ':outcome', proposal .. ':drawn', proposal .. ':epoch')
if not fields[3] then
  return 0
end
local island = proposal % settings.num_islands
local epoch = state_number('epoch:' .. island)
local drawn = fields[2]
if not fields[1] and not (drawn and tonumber(fields[3]) == epoch) then
  drawn = draw(island, math.floor(proposal / settings.num_islands), uniforms)
  redis.call('HSET', PROPOSALS, proposal .. ':drawn', drawn, proposal .. ':epoch', epoch)
  redis.call('RPUSH', OPERATIONS, 'sample:' .. proposal)
end
return drawn or 1
