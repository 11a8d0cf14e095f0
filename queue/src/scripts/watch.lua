#!lua flags=allow-oom
-- Has the end of tasks published (on the channel `done`). Whoever calls this listens already,
-- and reads the tasks afterwards.
--
-- KEYS   the partition's prefix
-- ARGV   clock, task ids
-- Reply  1
-- use: clock

local waiters = {}
for at = 2, #ARGV do
  waiters[#waiters + 1] = digits(now)
  waiters[#waiters + 1] = ARGV[at]
end
redis.call('ZADD', KEYS[1] .. 'waiters', unpack(waiters))
return 1
