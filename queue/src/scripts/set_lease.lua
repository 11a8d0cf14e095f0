#!lua flags=
-- Sets the length of a lease, which is one value for the whole store.
--
-- KEYS   the partition's prefix
-- ARGV   clock, milliseconds
-- Reply  1

redis.call('SET', KEYS[1] .. 'lease', ARGV[2])
return 1
