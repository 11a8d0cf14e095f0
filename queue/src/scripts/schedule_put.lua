#!lua flags=
-- Makes a schedule what is said here.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace:name, cron expression, time zone, 1 for paused, 0 for not, '' for as it
--        is, the first tick from now on, tail (opaque)
-- Reply  1
--
-- Invariants: a schedule has a tick unless it is paused; it keeps that unless its timing is another
-- one or its pause ends; generations are never used again.
-- use: clock record schedule

local P, name = KEYS[1], ARGV[2]
local old = schedule_of(name)
local s = { cron = ARGV[3], zone = ARGV[4], tail = ARGV[7], at = old and old.at or '', task = old and old.task or '' }
s.paused = ARGV[5] == '1' or (ARGV[5] == '' and old ~= nil and old.paused)
local timed = old and not old.paused and old.cron == s.cron and old.zone == s.zone
if old and old.cron == s.cron and old.zone == s.zone and old.tail == s.tail and old.paused == s.paused then
  return 1
end
s.generation = digits(redis.call('INCRBY', P .. 'generations', 1))
write_schedule(name, s)
if s.paused then
  set_tick(name, '')
elseif not timed then
  set_tick(name, ARGV[6])
end
return 1
