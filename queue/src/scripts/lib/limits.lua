-- What may run at once, and how often something may start.
--
-- `f:<ns>:<queue>`          the tasks in flight of a queue whose concurrency is limited
-- `k:<ns>:<queue>:<key>`    the tasks in flight of a concurrency key
-- `pk:<ns>:<queue>:<key>`   the tasks parked because their key is full, with their own scores
-- `parked:<ns>:<queue>`     all of a queue's parked tasks, the same way
-- `rate`                    queue -> its starts by slices of the period
--
-- Invariant: a task is parked only while another of its key is in flight.

-- Takes the best of the parked tasks of a key back into its queue, as many as may run now.
local function unpark(name, key)
  local waiting = KEYS[1] .. 'pk:' .. name .. ':' .. key
  local room = settings_of(name).per_key - redis.call('ZCARD', KEYS[1] .. 'k:' .. name .. ':' .. key)
  if room <= 0 then
    return
  end
  local members = redis.call('ZPOPMIN', waiting, math.min(room, 100))
  for i = 1, #members, 2 do
    redis.call('ZADD', KEYS[1] .. 'r:' .. name, string.format('%.17g', tonumber(members[i + 1])), members[i])
    redis.call('ZREM', KEYS[1] .. 'parked:' .. name, members[i])
  end
  if #members > 0 then
    mark(name)
  end
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

-- Starts are counted in slices of the period: what began in the last period and in the slice
-- that is running never exceeds the rate, so that no period of whatever beginning holds more.
local SLICES = 20

local function slices_of(name, settings)
  local width = math.max(1, settings.period / SLICES)
  local current = math.floor(now / width)
  local kept, total = {}, 0
  for slice, count in string.gmatch(redis.call('HGET', KEYS[1] .. 'rate', name) or '', '(%d+):(%d+)') do
    slice, count = tonumber(slice), tonumber(count)
    -- A clock that steps back a little changes nothing; what it left far in the future is let go,
    -- since nobody could start until then.
    if slice >= current - SLICES and slice <= current + 1 then
      kept[#kept + 1] = { slice = slice, count = count }
      total = total + count
    end
  end
  return { width = width, current = current, kept = kept, total = total }
end

-- How many tasks of a queue may start now, and, if none, when that changes.
local function permits(name, settings)
  local slices = slices_of(name, settings)
  local free = settings.rate - slices.total
  if free > 0 then
    return free
  end
  return 0, math.ceil((slices.kept[1].slice + SLICES + 1) * slices.width)
end

local function spend(name, settings, started)
  local slices = slices_of(name, settings)
  local kept = slices.kept
  if #kept > 0 and kept[#kept].slice >= slices.current then
    kept[#kept].count = kept[#kept].count + started
  else
    kept[#kept + 1] = { slice = slices.current, count = started }
  end
  local parts = {}
  for i, part in ipairs(kept) do
    parts[i] = digits(part.slice) .. ':' .. digits(part.count)
  end
  redis.call('HSET', KEYS[1] .. 'rate', name, table.concat(parts, ' '))
end
