#!lua flags=no-writes
-- The schedules whose tick has come, a slice of at most 20 and about 4 MiB.
--
-- KEYS   the partition's prefix
-- ARGV   clock, tick and name of the one behind which the slice begins, or '' and ''
-- Reply  the time, 1 if there are more, per schedule, by tick: namespace:name, tick, record (see
--        lib/schedule.lua)
-- use: clock record task page schedule

local P = KEYS[1]
local SLICE, BYTES = 20, 4 * 1024 * 1024
local flat = page(P .. 'ticks', false, ARGV[2], ARGV[3], SLICE + 1)
local found, bytes = {}, 0
for i = 1, #flat, 2 do
  local tick = tonumber(flat[i + 1])
  if tick > now then
    break
  elseif i > 2 * SLICE or bytes > BYTES then
    return { digits(now), 1, found }
  end
  local record = redis.call('HGET', P .. 'sched', flat[i]) or ''
  bytes = bytes + #record
  found[#found + 1] = flat[i]
  found[#found + 1] = digits(tick)
  found[#found + 1] = record
end
return { digits(now), 0, found }
