#!lua flags=
-- Pauses a queue, or resumes it. A paused queue accepts tasks and hands out none.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace:queue, 1 to pause or 0 to resume
-- Reply  1
-- use: clock record ready

local P, name, paused = KEYS[1], ARGV[2], ARGV[3]
local settings = settings_of(name)
settings.paused = paused == '1'
redis.call('HSET', P .. 'q', name, queue_settings(settings))
if not settings.paused and redis.call('ZCARD', P .. 'r:' .. name) > 0 then
  mark(name)
end
return 1
