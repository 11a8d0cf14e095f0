#!lua flags=
-- Pauses a queue, or resumes it. A paused queue accepts tasks and hands out none.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace:queue, 1 to pause or 0 to resume
-- Reply  how many tasks are ready in it
-- use: clock record ready

local P, name, paused = KEYS[1], ARGV[2], ARGV[3]
local settings = parse_settings(redis.call('HGET', P .. 'q', name))
redis.call('HSET', P .. 'q', name, queue_settings(paused, settings.weight))
local ready = redis.call('ZCARD', P .. 'r:' .. name)
if paused == '0' and ready > 0 then
  mark(name)
end
return ready
