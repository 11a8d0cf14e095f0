-- Ready tasks wait in `r:<ns>:<queue>`, lowest score first.
--
-- score = -priority * weight + milliseconds: the default weight is larger than any time, so
-- that priority always comes first; the member begins with the arrival sequence, which breaks
-- the ties within a millisecond.
local DEFAULT_WEIGHT = 2199023255552 -- 2^41

-- A queue's settings, as the first submit to it writes them.
local function queue_settings(paused, weight)
  return VERSION .. pack({ paused, digits(weight) })
end

local function parse_settings(record)
  if not record then
    return { paused = false, weight = DEFAULT_WEIGHT }
  end
  local f = fields_of(record, 2)
  return { paused = f[1] == '1', weight = tonumber(f[2]) }
end

local function score(priority, weight, base)
  return string.format('%.17g', -priority * weight + base)
end

-- Wakes one idle worker of a queue.
local function mark(name)
  redis.call('ZADD', KEYS[1] .. 'wake:' .. name, 0, '1')
end

local weights = {}
local function weight_of(name)
  if not weights[name] then
    weights[name] = parse_settings(redis.call('HGET', KEYS[1] .. 'q', name)).weight
  end
  return weights[name]
end

-- Makes a task ready with the score and the sequence that are its own.
local function make_ready(id, def, s)
  local priority = tonumber(s.priority) or def.priority
  local base = tonumber(s.base) or def.created
  redis.call('ZADD', KEYS[1] .. 'r:' .. def.name, score(priority, weight_of(def.name), base), def.seq .. id)
  mark(def.name)
end

-- Makes ready up to `limit` tasks that are due; answers how many.
local function promote(limit)
  local members = redis.call('ZRANGEBYSCORE', KEYS[1] .. 'due', '-inf', digits(now), 'LIMIT', 0, limit)
  for _, member in ipairs(members) do
    local id = string.sub(member, 12)
    make_ready(id, definition(id), state(id))
  end
  if #members > 0 then
    redis.call('ZREM', KEYS[1] .. 'due', unpack(members))
  end
  return #members
end

-- When the next scheduled task is due, or ''.
local function next_due()
  local first = redis.call('ZRANGE', KEYS[1] .. 'due', 0, 0, 'WITHSCORES')
  return first[2] and digits(tonumber(first[2])) or ''
end

