-- Work in flight: a proposal that is handed out is an entry of the stream, delivered to a consumer of the group that is
-- named after one claim, until it is committed. How long ago it was delivered or renewed, by the server's clock, says
-- whether its lease has run out; how often it was delivered is its attempt. Put after island.lua.

local GROUP = 'evolvers'
local LEASE_MS = string.format('%.0f', math.ceil(settings.lease_s * 1000))

local function entry_of(proposal)
  return string.format('%d-0', proposal + 1)
end

-- Consumer and attempt of a proposal in flight; nil of any other.
local function holder(proposal)
  local found = redis.call('XPENDING', WORK, GROUP, entry_of(proposal), entry_of(proposal), 1)[1]
  if found then
    return found[2], found[4]
  end
end
