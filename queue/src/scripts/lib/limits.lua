-- What may run at once, and how often something may start.
--
-- `f:<ns>:<queue>`          the tasks in flight of a queue whose concurrency is limited
-- `k:<ns>:<queue>:<key>`    the tasks in flight of a concurrency key
-- `pk:<ns>:<queue>:<key>`   the tasks parked because their key is full, with their own scores
-- `parked:<ns>:<queue>`     all of a queue's parked tasks, the same way
-- `rate`                    queue -> its starts by slices of time
--
-- Invariant: a task is parked only while another of its key is in flight.

-- Takes the best of the parked tasks of a key back into its queue, as many as may run now, a
-- hundred at most; answers how many.
local function unpark(name, key)
  local waiting = KEYS[1] .. 'pk:' .. name .. ':' .. key
  local room = settings_of(name).per_key - redis.call('ZCARD', KEYS[1] .. 'k:' .. name .. ':' .. key)
  if room <= 0 then
    return 0
  end
  local members = redis.call('ZPOPMIN', waiting, math.min(room, 100))
  for i = 1, #members, 2 do
    redis.call('ZADD', KEYS[1] .. 'r:' .. name, string.format('%.17g', tonumber(members[i + 1])), members[i])
    redis.call('ZREM', KEYS[1] .. 'parked:' .. name, members[i])
  end
  if #members > 0 then
    mark(name)
  end
  return #members / 2
end

-- A task of a queue, and perhaps of a key, is no longer in flight.
local function leave(id, name, key)
  if settings_of(name).concurrency > 0 then
    redis.call('ZREM', KEYS[1] .. 'f:' .. name, id)
    mark(name)
  end
  if key ~= '' then
    redis.call('ZREM', KEYS[1] .. 'k:' .. name .. ':' .. key, id)
    unpark(name, key)
  end
end

-- Claims a keyed task that was popped, or parks it. Answers whether it may run.
local function enter_key(id, member, own_score, name, key)
  local running = KEYS[1] .. 'k:' .. name .. ':' .. key
  if redis.call('ZCARD', running) < settings_of(name).per_key then
    redis.call('ZADD', running, 0, id)
    return true
  end
  redis.call('ZADD', KEYS[1] .. 'pk:' .. name .. ':' .. key, own_score, member)
  redis.call('ZADD', KEYS[1] .. 'parked:' .. name, own_score, member)
  return false
end

-- Starts are counted in slices of the period, each known by its end: a slice counts until a
-- period after that, so that no period of whatever beginning holds more starts than the rate, also
-- when the period has changed.
local SLICES = 20

local function keep_slices(name, kept)
  local parts = {}
  for i, slice in ipairs(kept) do
    parts[i] = digits(slice.ends) .. ':' .. digits(slice.count)
  end
  redis.call('HSET', KEYS[1] .. 'rate', name, table.concat(parts, ' '))
end

-- The slices that count, how many starts they hold, and the end of the one that runs.
local function slices_of(name, settings)
  local width = math.max(1, settings.period / SLICES)
  local latest = math.ceil(now + width)
  local kept, total, cut = {}, 0, false
  for ends, count in string.gmatch(redis.call('HGET', KEYS[1] .. 'rate', name) or '', '(%d+):(%d+)') do
    ends, count = tonumber(ends), tonumber(count)
    if ends > latest then
      -- The clock stepped back, or slices were longer: from now on it counts as of now.
      ends, cut = latest, true
    end
    if now < ends + settings.period then
      kept[#kept + 1] = { ends = ends, count = count }
      total = total + count
    end
  end
  if cut then
    keep_slices(name, kept)
  end
  return kept, total, math.ceil((math.floor(now / width) + 1) * width)
end

-- How many tasks of a queue may start now, and, if none, when that changes.
local function permits(name, settings)
  local kept, total = slices_of(name, settings)
  local free = settings.rate - total
  if free > 0 then
    return free
  end
  local first = kept[1].ends
  for _, slice in ipairs(kept) do
    first = math.min(first, slice.ends)
  end
  return 0, first + settings.period
end

local function spend(name, settings, started)
  local kept, _, ends = slices_of(name, settings)
  local last = kept[#kept]
  if last and last.ends == ends then
    last.count = last.count + started
  else
    kept[#kept + 1] = { ends = ends, count = started }
  end
  keep_slices(name, kept)
end
