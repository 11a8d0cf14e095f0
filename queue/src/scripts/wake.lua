#!lua flags=allow-oom
-- Sets the markers of queues again, for a worker that took one and cannot use it.
--
-- KEYS   the partition's prefix
-- ARGV   clock, names (namespace:queue)
-- Reply  1

for at = 2, #ARGV do
  if redis.call('ZCARD', KEYS[1] .. 'r:' .. ARGV[at]) > 0 then
    redis.call('ZADD', KEYS[1] .. 'wake:' .. ARGV[at], 0, '1')
  end
end
return 1
