#!lua flags=
-- Accepts the tasks of a schedule's ticks and moves it on to the tick behind them.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace:name, generation, the tick that it is at, the tick to go on with (or ''),
--        the last tick that has a task here and that task (or '' and ''), then the tasks as
--        lib/accept.lua takes them, none if the ticks are let go
-- Reply  `fired`, or, nothing having been written, `stale`: it is not at that tick any more
--
-- Invariant: a tick is fired once, whoever fires it, since the same step moves the schedule on.
-- use: clock record task ready limits ends numbers finish kin accept schedule

local FIRST = 8
local P, name = KEYS[1], ARGV[2]
local s, at = schedule_of(name), tick_of(name)
if FIRST <= #ARGV then
  -- Sent again: these tasks are there.
  if redis.call('EXISTS', P .. 'd:' .. ARGV[FIRST]) == 1 then
    return 'fired'
  end
elseif s and s.generation == ARGV[3] and at == tonumber(ARGV[5]) then
  return 'fired'
end
if not s or s.generation ~= ARGV[3] or at ~= tonumber(ARGV[4]) then
  return 'stale'
end
if FIRST <= #ARGV then
  local reply = accept(ARGV, FIRST, note_accepted)
  if reply[1] ~= 'ok' then
    return reply.err and reply or reply[1]
  end
  s.at, s.task = ARGV[6], ARGV[7]
  write_schedule(name, s)
  count_noted()
end
set_tick(name, ARGV[5])
return 'fired'
