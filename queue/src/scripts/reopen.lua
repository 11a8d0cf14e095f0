#!lua flags=allow-oom
-- Ends all leases, uncounted: the process that held them all has gone, and its store with it.
-- Only the embedded home calls this, when it is opened, until the reply is 0.
--
-- KEYS   the partition's prefix
-- ARGV   clock
-- Reply  how many leases this call ended
-- use: clock record task ready limits

local P = KEYS[1]
local ids = redis.call('ZRANGEBYSCORE', P .. 'l', '-inf', '+inf', 'LIMIT', 0, 500)
for _, id in ipairs(ids) do
  local def = definition(id)
  if def then
    make_ready(id, def, state(id))
    leave(id, def.name, def.key)
  end
  redis.call('ZREM', P .. 'l', id)
  redis.call('HDEL', P .. 'run', id)
  redis.call('HDEL', P .. 'prog', id)
end
return #ids
