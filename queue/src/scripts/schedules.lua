#!lua flags=no-writes
-- Schedules.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace, name of one schedule or '' for a list, of that: the name behind which it
--        begins, how many at most
-- Reply  the time; per schedule, by name: name, its next tick (or ''), its record (see
--        lib/schedule.lua), in a list without the payload
-- use: clock record schedule

local P, ns, only, after, limit = KEYS[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local names = only ~= '' and { ns .. ':' .. only } or redis.call('HKEYS', P .. 'sched')
table.sort(names)
local found = {}
for _, name in ipairs(names) do
  local short = string.sub(name, #ns + 2)
  if #found < 3 * limit and string.sub(name, 1, #ns + 1) == ns .. ':' and short > after then
    local record = redis.call('HGET', P .. 'sched', name)
    if record then
      local _, tail = fields_of(record, 6)
      local tick = tick_of(name)
      found[#found + 1] = short
      found[#found + 1] = tick and digits(tick) or ''
      -- The payload comes behind the tail's first line.
      found[#found + 1] = only ~= '' and record or string.sub(record, 1, (string.find(record, '\n', tail, true)))
    end
  end
end
return { digits(now), found }
