#!lua flags=no-writes
-- How many tasks of all namespaces were ever accepted, are held, and were removed.
--
-- KEYS   the partition's prefix
-- ARGV   clock
-- Reply  these three numbers; the namespaces, by name

local P = KEYS[1]
local held = redis.call('ZCARD', P .. 'due') + redis.call('ZCARD', P .. 'blocked') + redis.call('ZCARD', P .. 'l')
local namespaces, seen = {}, {}
for _, name in ipairs(redis.call('HKEYS', P .. 'q')) do
  held = held + redis.call('ZCARD', P .. 'r:' .. name) + redis.call('ZCARD', P .. 'parked:' .. name)
  local ns = string.match(name, '^[^:]*')
  if not seen[ns] then
    seen[ns] = true
    namespaces[#namespaces + 1] = ns
  end
end
table.sort(namespaces)
local submitted, removed = 0, 0
for _, ns in ipairs(namespaces) do
  for _, status in ipairs({ 'COMPLETED', 'FAILED', 'CANCELLED' }) do
    held = held + redis.call('ZCARD', P .. 'fin:' .. ns .. ':' .. status)
  end
  submitted = submitted + tonumber(redis.call('HGET', P .. 'stats', ns .. ':submitted') or 0)
  removed = removed + tonumber(redis.call('HGET', P .. 'stats', ns .. ':removed') or 0)
end
return { submitted, held, removed, namespaces }
