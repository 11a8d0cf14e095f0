#!lua flags=no-writes
-- What an attempt of a task printed.
--
-- KEYS   the partition's prefix
-- ARGV   clock, id, attempt
-- Reply  the log as it was settled (opaque), or nothing

return redis.call('GET', KEYS[1] .. 'log:' .. ARGV[2] .. ':' .. ARGV[3])
