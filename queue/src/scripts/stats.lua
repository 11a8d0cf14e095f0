#!lua flags=no-writes
-- How many tasks are held in each state.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace
-- Reply  QUEUED, SCHEDULED, IN_PROGRESS, COMPLETED, FAILED, CANCELLED

local P, ns = KEYS[1], ARGV[2]
local queued = 0
for _, name in ipairs(redis.call('HKEYS', P .. 'q')) do
  if string.sub(name, 1, #ns + 1) == ns .. ':' then
    queued = queued + redis.call('ZCARD', P .. 'r:' .. name)
  end
end
local function ended(status)
  return redis.call('ZCARD', P .. 'fin:' .. ns .. ':' .. status)
end
return {
  queued, redis.call('ZCARD', P .. 'due'), redis.call('ZCARD', P .. 'l'),
  ended('COMPLETED'), ended('FAILED'), ended('CANCELLED'),
}
