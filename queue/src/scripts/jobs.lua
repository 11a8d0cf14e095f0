#!lua flags=no-writes
-- The jobs that some worker advertised within the last ten minutes.
--
-- KEYS   the partition's prefix
-- ARGV   clock
-- Reply  per job, by name: name, when it was last advertised in milliseconds
-- use: clock

local P = KEYS[1]
local recent = digits(now - 600 * 1000)
local names = redis.call('ZRANGEBYSCORE', P .. 'j', recent, '+inf', 'LIMIT', 0, 5000)
table.sort(names)
local reply = {}
for _, name in ipairs(names) do
  reply[#reply + 1] = name
  reply[#reply + 1] = digits(tonumber(redis.call('ZSCORE', P .. 'j', name)))
end
return reply
