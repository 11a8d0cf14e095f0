#!lua flags=allow-oom
-- Writes something, to see whether the store takes writes.
--
-- KEYS   the partition's prefix
-- ARGV   clock
-- Reply  1
-- use: clock

redis.call('SET', KEYS[1] .. 'probe', digits(now))
return 1
