#!lua flags=no-writes
-- How far an operation has come.
--
-- KEYS   the partition's prefix
-- ARGV   clock, its id
-- Reply  nothing for an unknown one, or: kind, 1 if it only counts, namespace, when it was
--        started, when it ended (or ''), how many tasks were looked at, how many had what was
--        asked for, on how many of them it was done

return redis.call('EXISTS', KEYS[1] .. 'op:' .. ARGV[2]) == 1
  and redis.call('HMGET', KEYS[1] .. 'op:' .. ARGV[2],
    'kind', 'dry', 'ns', 'created', 'finished', 'looked', 'matched', 'done')
