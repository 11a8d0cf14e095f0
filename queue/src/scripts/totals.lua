#!lua flags=no-writes
-- How many tasks of all namespaces were ever accepted, are held, and were removed.
--
-- KEYS   the partition's prefix
-- ARGV   clock
-- Reply  these three numbers; the namespaces, by name
-- use: namespace

local P = KEYS[1]
local held = redis.call('ZCARD', P .. 'due') + redis.call('ZCARD', P .. 'l')
for _, name in ipairs(redis.call('HKEYS', P .. 'q')) do
  held = held + redis.call('ZCARD', P .. 'r:' .. name) + redis.call('ZCARD', P .. 'parked:' .. name)
end
local submitted, removed, all = 0, 0, namespaces()
for _, ns in ipairs(all) do
  held = held + redis.call('ZCARD', P .. 'blocked:' .. ns)
  for _, status in ipairs({ 'COMPLETED', 'FAILED', 'CANCELLED' }) do
    held = held + redis.call('ZCARD', P .. 'fin:' .. ns .. ':' .. status)
  end
  submitted = submitted + tonumber(redis.call('HGET', P .. 'stats', ns .. ':submitted') or 0)
  removed = removed + tonumber(redis.call('HGET', P .. 'stats', ns .. ':removed') or 0)
end
return { submitted, held, removed, all }
