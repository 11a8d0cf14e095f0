-- The order in which tasks end: it never goes backwards, though the clock may.
--
-- `endings`  the place in that order that the last end had, and what the clock said then
--
-- A place is the time in milliseconds, unless a clock that stepped back has been there already.

local function last_end()
  local last, clock = string.match(redis.call('GET', KEYS[1] .. 'endings') or '', '^(%d+) (%d+)$')
  return tonumber(last), tonumber(clock)
end

-- The place of the next end after the last one, if that comes at this moment.
local function next_end(last, clock)
  if not last or now > last then
    return now
  end
  return clock == now and last or last + 1
end

-- The place of what ends in this call.
local place_in_order
local function end_place()
  if not place_in_order then
    place_in_order = next_end(last_end())
    redis.call('SET', KEYS[1] .. 'endings', digits(place_in_order) .. ' ' .. digits(now))
  end
  return place_in_order
end
