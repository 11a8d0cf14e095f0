#!lua flags=
-- Removes a schedule; its tasks stay.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace:name
-- Reply  1

redis.call('HDEL', KEYS[1] .. 'sched', ARGV[2])
redis.call('ZREM', KEYS[1] .. 'ticks', ARGV[2])
return 1
