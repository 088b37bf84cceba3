-- evolve/archive/island.py over an archive's keys, operation by operation in the same order.
-- Put before every script that needs it. Redis 6.2 commands only; random numbers come in ARGV.
--
-- KEYS    1 state (hash: founded, next, committed, reseeded, written, outcome|failure|effort|upkeep:*; made|scored|
--           improved:operator|variant:<name>; epoch:i, registered:i, total:i, stalled:i, notes:i per island)
--         2 programs (hash: id or "id@revision" -> record)   3 ranking of all scored programs (zset: member -> -score)
--         4 work in flight (stream: an entry <i + 1>-0 for each proposal i handed out and not committed, pending in its
--           one group; see work.lua)
--         5 proposals (hash: "<i>:epoch|drawn", and once committed "<i>:outcome|attempt")       6 operations (list)
--         7 index (hash: "seen:<id or behaviour>" -> "<commits before>:<id>", "member:<id>", "revision:<id>",
--           "revised:<id>" -> commits before each revision)
--         8 champions (hash: opponent -> "<mean> <id>")      9 notes (hash: "<island>:<number>" -> text)
--         10 the run's events (list)
--         11+5i ... 15+5i: of island i, its ranking (zset as 3), its clusters (zset: signature -> -best score), their
--         members (hash: signature -> members kept, comma separated), failures to repair (list), recent children (list)
-- member  "<length, 10 digits>:<program id>:<signature>": equal scores then sort by length and id.
-- ARGV[1] the archive's settings, msgpack

local STATE, PROGRAMS, RANKING, WORK, PROPOSALS, OPERATIONS, INDEX, CHAMPIONS, NOTES, EVENTS = unpack(KEYS, 1, 10)
local settings = cmsgpack.unpack(ARGV[1])
local CLUSTER_MEMBERS, KEPT_FAILURES = 32, 16

local function island_keys(island)
  return unpack(KEYS, 11 + 5 * island, 15 + 5 * island)
end

local function exact(number)
  return string.format('%.17g', number)
end

local function state_number(field)
  return tonumber(redis.call('HGET', STATE, field) or 0)
end

local function count_upkeep(name)
  redis.call('HINCRBY', STATE, 'upkeep:' .. name, 1)
end

local function top(island, count)
  local ranking = island_keys(island)
  return redis.call('ZRANGE', ranking, 0, count - 1, 'WITHSCORES')
end

local function id_of(member)
  return string.match(member, '^%d+:([^:]+):')
end

local function revision_of(id)
  return tonumber(redis.call('HGET', INDEX, 'revision:' .. id) or 0)
end

local function group(island, member, score)
  local _, clusters, members = island_keys(island)
  local short, signature = string.match(member, '^(%d+:[^:]+):(.+)$')
  local known = redis.call('ZSCORE', clusters, signature)
  if known and settings.selection == 'map_elites' then
    known = tonumber(known)
    if -score > known or (-score == known and short >= redis.call('HGET', members, signature)) then
      return
    end
    redis.call('HDEL', members, signature)
  end
  if not known or -score < tonumber(known) then
    redis.call('ZADD', clusters, exact(-score), signature)
  end
  local kept = { short }
  for each in string.gmatch(redis.call('HGET', members, signature) or '', '[^,]+') do
    kept[#kept + 1] = each
  end
  table.sort(kept)
  redis.call('HSET', members, signature, table.concat(kept, ',', 1, math.min(#kept, CLUSTER_MEMBERS)))
end

local function regroup(island, signature)
  local ranking, clusters, members = island_keys(island)
  redis.call('ZREM', clusters, signature)
  redis.call('HDEL', members, signature)
  local found, tail = redis.call('ZRANGE', ranking, 0, -1, 'WITHSCORES'), ':' .. signature
  for position = 1, #found, 2 do
    if string.sub(found[position], -#tail) == tail then
      group(island, found[position], -tonumber(found[position + 1]))
    end
  end
end

local function register(island, member, score)
  local ranking = island_keys(island)
  local first = top(island, 1)
  if #first == 0 or score > -tonumber(first[2]) then
    redis.call('HSET', STATE, 'stalled:' .. island, 0)
  end
  redis.call('ZADD', ranking, exact(-score), member)
  group(island, member, score)
  redis.call('HINCRBY', STATE, 'registered:' .. island, 1)
  redis.call('HSET', STATE, 'total:' .. island, exact(state_number('total:' .. island) + score))
end

-- A member's new score, or nil to take it out: 1 if it lost the island's first place by it.
local function revise(island, member, score)
  local ranking = island_keys(island)
  local held = redis.call('ZSCORE', ranking, member)
  if not held or (not score and redis.call('ZCARD', ranking) == 1) then
    return 0
  end
  local old, was_first = -tonumber(held), top(island, 1)[1] == member
  local total = state_number('total:' .. island)
  if score then
    redis.call('ZADD', ranking, exact(-score), member)
    total = total + (score - old)
  else
    redis.call('ZREM', ranking, member)
    total = total - old
  end
  redis.call('HSET', STATE, 'total:' .. island, exact(total))
  regroup(island, string.match(member, '^%d+:[^:]+:(.+)$'))
  return was_first and top(island, 1)[1] ~= member and 1 or 0
end

local function refound(island, member, score)
  redis.call('DEL', island_keys(island))
  redis.call('HINCRBY', STATE, 'epoch:' .. island, 1)
  redis.call('HSET', STATE, 'registered:' .. island, 0, 'total:' .. island, 0, 'stalled:' .. island, 0)
  register(island, member, score)
end

-- The program takes the place of those who do worse against an opponent.
local function challenge(id, means)
  for opponent, mean in pairs(means) do
    local champion = redis.call('HGET', CHAMPIONS, opponent)
    if not champion or mean > tonumber(string.match(champion, '^(%S+) ')) then
      redis.call('HSET', CHAMPIONS, opponent, exact(mean) .. ' ' .. id)
    end
  end
end
