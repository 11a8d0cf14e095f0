#!lua flags=
-- Changes when a waiting task is due, its priority, or both.
--
-- KEYS   the partition's prefix
-- ARGV   clock, the request's own id, task id, when it is due (as in lib/accept.lua, or '' to
--        leave that), priority (or '' to leave it)
-- Reply  ok, wrong (it waits no more) or unknown; the status that it has now
-- use: clock record task ready limits ends numbers finish place steer request

local id, when, priority = ARGV[3], ARGV[4], ARGV[5]
return once(ARGV[2], function()
  local def, s = definition(id), state(id)
  if not def then
    return { 'unknown', '' }
  end
  local status = ending(id) or place_of(id, def) or 'LOST'
  if status ~= 'QUEUED' and status ~= 'SCHEDULED' and status ~= 'BLOCKED' then
    return { 'wrong', status }
  end
  if priority ~= '' then
    s.priority = priority
  end
  if when ~= '' then
    local delay = string.match(when, '^%+(%d+)$')
    s.due = digits(delay and now + tonumber(delay) or tonumber(when))
    s.base = digits(math.max(tonumber(s.due), def.created))
  end
  s.by = 'reschedule ' .. ARGV[2]
  write_state(id, s)
  if status ~= 'BLOCKED' then
    withdraw(id, def)
    place(id, def, s)
    status = place_of(id, def)
  end
  return { 'ok', status }
end)
