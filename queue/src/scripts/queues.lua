#!lua flags=no-writes
-- All queues.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace
-- Reply  per queue, by name: name, 1 if it is paused or 0, how many tasks are ready
-- use: clock record ready

local P, ns = KEYS[1], ARGV[2]
local names = redis.call('HKEYS', P .. 'q')
table.sort(names)
local reply = {}
for _, name in ipairs(names) do
  if string.sub(name, 1, #ns + 1) == ns .. ':' then
    local settings = parse_settings(redis.call('HGET', P .. 'q', name))
    reply[#reply + 1] = string.sub(name, #ns + 2)
    reply[#reply + 1] = settings.paused and 1 or 0
    reply[#reply + 1] = redis.call('ZCARD', P .. 'r:' .. name)
  end
end
return reply
