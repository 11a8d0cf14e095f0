#!lua flags=no-writes
-- What a task can go on from.
--
-- KEYS   the partition's prefix
-- ARGV   clock, id
-- Reply  the bytes (opaque), or nothing

return redis.call('GET', KEYS[1] .. 'ck:' .. ARGV[2])
