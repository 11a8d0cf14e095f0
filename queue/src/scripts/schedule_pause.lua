#!lua flags=
-- Pauses a schedule, or ends its pause. A paused schedule has no ticks and misses none.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace:name, 1 to pause or 0 to resume, and to resume: the generation from
--        which the tick was made, the first tick from now on
-- Reply  `ok`, `unknown`, or `changed`: it has another generation
-- use: clock record schedule

local name, paused = ARGV[2], ARGV[3] == '1'
local s = schedule_of(name)
if not s then
  return 'unknown'
elseif s.paused == paused then
  return 'ok'
elseif not paused and s.generation ~= ARGV[4] then
  return 'changed'
end
s.paused = paused
write_schedule(name, s)
set_tick(name, paused and '' or ARGV[5])
return 'ok'
