#!lua flags=
-- Starts an operation on all tasks that have what is asked for.
--
-- KEYS   the partition's prefix
-- ARGV   clock, its id, kind (cancel, redrive, purge), 1 if it only counts, namespace, queue,
--        job, tag, since, before, statuses (joined by commas, in the order in which they are walked)
-- Reply  1
-- use: clock

local P, id = KEYS[1], ARGV[2]
if redis.call('EXISTS', P .. 'op:' .. id) == 1 then
  return 1
end
redis.call('HSET', P .. 'op:' .. id,
  'kind', ARGV[3], 'dry', ARGV[4], 'ns', ARGV[5], 'queue', ARGV[6], 'job', ARGV[7], 'tag', ARGV[8],
  'since', ARGV[9], 'before', ARGV[10], 'statuses', ARGV[11], 'created', digits(now),
  'arrived', redis.call('HGET', P .. 'seq', 'last') or '0',
  'looked', '0', 'matched', '0', 'done', '0', 'pass', '0', 'status', '', 'set', '', 'at', '', 'member', '', 'finished', '')
redis.call('ZADD', P .. 'ops', digits(now), id)
return 1
