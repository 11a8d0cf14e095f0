#!lua flags=no-writes
-- How many tasks of a namespace are held in each state, and how many ever were.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace
-- Reply  QUEUED, SCHEDULED, BLOCKED, IN_PROGRESS, COMPLETED, FAILED, CANCELLED, the lifetime
--        counters (name, count)
-- use: clock record task namespace

local P, ns = KEYS[1], ARGV[2]
local fields, counters, lifetime = redis.call('HKEYS', P .. 'stats'), {}, {}
table.sort(fields)
for _, field in ipairs(fields) do
  if string.sub(field, 1, #ns + 1) == ns .. ':' then
    local name, count = string.sub(field, #ns + 2), redis.call('HGET', P .. 'stats', field)
    counters[#counters + 1] = name
    counters[#counters + 1] = count
    lifetime[name] = tonumber(count)
  end
end
local function count(set)
  return redis.call('ZCARD', P .. set)
end
local queued, blocked = 0, count('blocked:' .. ns)
for _, name in ipairs(redis.call('HKEYS', P .. 'q')) do
  if string.sub(name, 1, #ns + 1) == ns .. ':' then
    queued = queued + count('r:' .. name) + count('parked:' .. name)
  end
end
local completed, failed, cancelled =
  count('fin:' .. ns .. ':COMPLETED'), count('fin:' .. ns .. ':FAILED'), count('fin:' .. ns .. ':CANCELLED')

-- What runs and what is due later is kept for all namespaces together. What runs is as many as
-- there are slots; what is due later is the rest of what is held.
local running, scheduled = count('l'), count('due')
local all = namespaces()
if #all > 1 or all[1] ~= ns then
  running = 0
  for _, id in ipairs(redis.call('HKEYS', P .. 'run')) do
    local def = definition(id)
    if def and def.ns == ns then
      running = running + 1
    end
  end
  local held = (lifetime.submitted or 0) - (lifetime.removed or 0)
  scheduled = math.max(0, held - queued - blocked - running - completed - failed - cancelled)
end
return { queued, scheduled, blocked, running, completed, failed, cancelled, counters }
