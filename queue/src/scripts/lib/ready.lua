-- Ready tasks wait in `r:<ns>:<queue>`, lowest score first.
--
-- score = -priority * weight + milliseconds: the default weight is larger than any time, so
-- that priority always comes first; the member begins with the arrival sequence, which breaks
-- the ties within a millisecond.
local DEFAULT_WEIGHT = 2199023255552 -- 2^41

-- A queue's settings as `q` holds them: written by the first submit, and by whoever changes them.
--
-- rate, period   at most so many starts in any so many milliseconds; 0: no limit
-- concurrency    at most so many attempts at once, on all workers; 0: no limit
-- per_key        at most so many at once for each concurrency key
-- defaults       what its tasks ask for when they do not say (opaque)
local function queue_settings(set)
  return VERSION .. pack({
    set.paused and '1' or '0', digits(set.weight), digits(set.rate), digits(set.period),
    digits(set.concurrency), digits(set.per_key),
  }) .. set.defaults
end

local function parse_settings(record)
  if not record then
    return {
      paused = false, weight = DEFAULT_WEIGHT, rate = 0, period = 0, concurrency = 0, per_key = 1,
      defaults = '',
    }
  end
  local f, tail = fields_of(record, 6)
  return {
    paused = f[1] == '1', weight = tonumber(f[2]), rate = tonumber(f[3]), period = tonumber(f[4]),
    concurrency = tonumber(f[5]), per_key = tonumber(f[6]), defaults = string.sub(record, tail),
  }
end

-- Settings of queues that this call has looked at.
local known_settings = {}
local function settings_of(name)
  local settings = known_settings[name]
  if not settings then
    settings = parse_settings(redis.call('HGET', KEYS[1] .. 'q', name))
    known_settings[name] = settings
  end
  return settings
end

local function score(priority, weight, base)
  return digits(-priority * weight + base)
end

-- Wakes one idle worker of a queue.
local function mark(name)
  redis.call('ZADD', KEYS[1] .. 'wake:' .. name, 0, '1')
end

-- The score that is a task's own.
local function score_of(def, s)
  local priority = tonumber(s.priority) or def.priority
  local base = tonumber(s.base) or def.created
  return score(priority, settings_of(def.name).weight, base)
end

-- Has the clock looked at when a waiting task expires.
local function watch_expiry(id, def, s)
  local expires = expiry(def, s)
  if expires then
    redis.call('ZADD', KEYS[1] .. 'exp', digits(expires), id)
  end
end

-- Makes a task ready with the score and the sequence that are its own.
local function make_ready(id, def, s)
  redis.call('ZADD', KEYS[1] .. 'r:' .. def.name, score_of(def, s), member_of(id, def))
  watch_expiry(id, def, s)
  mark(def.name)
end

-- Lets a task wait until it is due, or makes it ready if it is.
local function place(id, def, s)
  if (tonumber(s.due) or 0) > now then
    redis.call('ZADD', KEYS[1] .. 'due', s.due, member_of(id, def))
    watch_expiry(id, def, s)
  else
    make_ready(id, def, s)
  end
end

-- Makes ready up to `limit` tasks that are due; answers how many.
local function promote(limit)
  local members = redis.call('ZRANGEBYSCORE', KEYS[1] .. 'due', '-inf', digits(now), 'LIMIT', 0, limit)
  for _, member in ipairs(members) do
    local id = id_of(member)
    local def = definition(id)
    if def then
      make_ready(id, def, state(id))
    end
  end
  if #members > 0 then
    redis.call('ZREM', KEYS[1] .. 'due', unpack(members))
  end
  return #members
end

-- When the next scheduled task is due, or nil.
local function next_due()
  local first = redis.call('ZRANGE', KEYS[1] .. 'due', 0, 0, 'WITHSCORES')
  return tonumber(first[2])
end
