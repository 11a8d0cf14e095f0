#!lua flags=no-writes
-- The workers that gave a sign of life within three leases.
--
-- KEYS   the partition's prefix
-- ARGV   clock
-- Reply  per worker, by instance: instance, its last sign of life in milliseconds, what it says
--        of itself (opaque)
-- use: clock

local P = KEYS[1]
local since = digits(now - 3 * lease_length())
local instances = redis.call('ZRANGEBYSCORE', P .. 'w', since, '+inf', 'LIMIT', 0, 1000)
table.sort(instances)
local reply = {}
for _, instance in ipairs(instances) do
  reply[#reply + 1] = instance
  reply[#reply + 1] = digits(tonumber(redis.call('ZSCORE', P .. 'w', instance)))
  reply[#reply + 1] = redis.call('GET', P .. 'w:' .. instance) or ''
end
return reply
