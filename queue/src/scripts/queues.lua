#!lua flags=no-writes
-- Queues, with their settings.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace, name of one queue or '' for all
-- Reply  per queue, by name: name, settings (as lib/ready.lua packs them), how many tasks are
--        ready, how many of these are parked, how many run (where that is limited)
-- use: clock record ready

local P, ns, only = KEYS[1], ARGV[2], ARGV[3]
local names = only ~= '' and { ns .. ':' .. only } or redis.call('HKEYS', P .. 'q')
table.sort(names)
local reply = {}
for _, name in ipairs(names) do
  local record = redis.call('HGET', P .. 'q', name)
  if record and string.sub(name, 1, #ns + 1) == ns .. ':' then
    local parked = redis.call('ZCARD', P .. 'parked:' .. name)
    reply[#reply + 1] = string.sub(name, #ns + 2)
    reply[#reply + 1] = record
    reply[#reply + 1] = redis.call('ZCARD', P .. 'r:' .. name) + parked
    reply[#reply + 1] = parked
    reply[#reply + 1] = redis.call('ZCARD', P .. 'f:' .. name)
  end
end
return reply
