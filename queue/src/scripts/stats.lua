#!lua flags=no-writes
-- How many tasks are held in each state, and how many ever were.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace
-- Reply  QUEUED, SCHEDULED, BLOCKED, IN_PROGRESS, COMPLETED, FAILED, CANCELLED, the lifetime
--        counters (name, count)

local P, ns = KEYS[1], ARGV[2]
local queued = 0
for _, name in ipairs(redis.call('HKEYS', P .. 'q')) do
  if string.sub(name, 1, #ns + 1) == ns .. ':' then
    queued = queued + redis.call('ZCARD', P .. 'r:' .. name) + redis.call('ZCARD', P .. 'parked:' .. name)
  end
end
local function ended(status)
  return redis.call('ZCARD', P .. 'fin:' .. ns .. ':' .. status)
end
local fields, counters = redis.call('HKEYS', P .. 'stats'), {}
table.sort(fields)
for _, field in ipairs(fields) do
  if string.sub(field, 1, #ns + 1) == ns .. ':' then
    counters[#counters + 1] = string.sub(field, #ns + 2)
    counters[#counters + 1] = redis.call('HGET', P .. 'stats', field)
  end
end
return {
  queued, redis.call('ZCARD', P .. 'due'), redis.call('ZCARD', P .. 'blocked'),
  redis.call('ZCARD', P .. 'l'), ended('COMPLETED'), ended('FAILED'), ended('CANCELLED'), counters,
}
