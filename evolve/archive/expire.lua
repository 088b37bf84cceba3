-- Ends every lease.
for _, found in ipairs(redis.call('XPENDING', WORK, GROUP, '-', '+', settings.proposals)) do
  redis.call('XCLAIM', WORK, GROUP, found[2], 0, found[1], 'IDLE', LEASE_MS, 'JUSTID')
end
return 1
