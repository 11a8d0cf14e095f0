#!lua flags=no-writes
-- Whose session it is.
--
-- KEYS   the partition's prefix
-- ARGV   clock, the hash of its token
-- Reply  the id of its key, or nothing if there is none, or it is over
-- use: clock

local ends = redis.call('ZSCORE', KEYS[1] .. 'sessends', ARGV[2])
return ends and tonumber(ends) > now and redis.call('HGET', KEYS[1] .. 'sess', ARGV[2])
