-- A task as scripts see it: its definition's header (`d:`), which never changes, and its state
-- (`s:`), which is there only once the task has left its first path.

-- A header is shorter than this, however long its task.
local HEADER = 1024

local function parse_definition(record)
  local f = fields_of(record, 12)
  return {
    seq = f[1], priority = tonumber(f[2]), created = tonumber(f[3]),
    ns = f[4], queue = f[5], name = f[4] .. ':' .. f[5], job = f[6],
    max_lost = tonumber(f[7]), expires = f[8], key = f[9], tags = f[10], idempotency = f[11],
    flags = f[12],
  }
end

-- Nil for a task that is not there.
local function definition(id)
  local record = redis.call('GETRANGE', KEYS[1] .. 'd:' .. id, 0, HEADER - 1)
  return record ~= '' and parse_definition(record) or nil
end

-- How a task stands in the sets whose members are in order of arrival. A keyed one is told by
-- its last letter.
local function member_of(id, def)
  return def.seq .. id .. (def.key ~= '' and 'k' or '')
end

local function id_of(member)
  return string.sub(member, 12, 47)
end

-- ended     attempts that ended by failure or lost lease; of these
-- failures  those that count against max_attempts,
-- lost      those that count against max_lost, and
-- spared    lost leases that do not
-- misses    how often no worker had its job, missing_since the first of these times
-- expires   '' for the definition's own, 0 for never
-- conflicts attempts that had read what another changed
-- by        the last call that changed what is here
-- kind      the last error's
local STATE = {
  'ended', 'failures', 'lost', 'due', 'priority', 'base', 'by', 'kind', 'spared', 'misses',
  'missing_since', 'expires', 'conflicts',
}

local function state(id)
  local s = {}
  local record = redis.call('GET', KEYS[1] .. 's:' .. id)
  local f = record and fields_of(record, #STATE) or {}
  for i, field in ipairs(STATE) do
    s[field] = f[i] or ''
  end
  for _, field in ipairs({ 'ended', 'failures', 'lost', 'spared', 'misses', 'conflicts' }) do
    s[field] = tonumber(s[field]) or 0
  end
  return s
end

local function write_state(id, s)
  local fields = {}
  for i, field in ipairs(STATE) do
    local value = s[field]
    fields[i] = type(value) == 'number' and digits(value) or value
  end
  redis.call('SET', KEYS[1] .. 's:' .. id, VERSION .. pack(fields))
end

-- When a task must have started, or nil.
local function expiry(def, s)
  local expires = tonumber(s.expires ~= '' and s.expires or def.expires)
  return expires ~= 0 and expires or nil
end

-- A finished task's record (`x:`): how, when and by which call it ended.
local function finished(token, status, kind, attempt, started, tail)
  return VERSION .. pack({ token, status, kind, digits(attempt), started, now_digits }) .. tail
end

-- A claim as `run` holds it: its token and when it was made.
local function claim_of(run)
  return string.match(run, '^(%S+) (%d+)$')
end

-- The worker instance that made a claim.
local function instance_of(token)
  return string.match(token, '^(.*)%-%d+$')
end

-- What came before a task's last attempt (`h:`): how and when each attempt ended, by its number,
-- and other ends and redrives, by time and request. Of either the first is kept and the newest, so
-- many in all.
local REMEMBERED = 100

local function remember(id, field, what, token, kind, started, at, tail)
  local record = VERSION .. pack({ what, token, kind, started, at }) .. tail
  redis.call('HSET', KEYS[1] .. 'h:' .. id, field, record)
end

local function remember_attempt(id, attempt, what, token, kind, started, at, tail)
  remember(id, digits(attempt), what, token, kind, started, at, tail)
  if attempt > REMEMBERED then
    local second = digits(attempt - REMEMBERED + 1)
    redis.call('HDEL', KEYS[1] .. 'h:' .. id, second)
    redis.call('DEL', KEYS[1] .. 'log:' .. id .. ':' .. second)
  end
end

-- Forgets ends and redrives that are too many.
local function trim_history(id)
  local kept = {}
  for _, field in ipairs(redis.call('HKEYS', KEYS[1] .. 'h:' .. id)) do
    local order = string.match(field, '^%a+ (.*)$')
    if order then
      kept[#kept + 1] = { order = order, field = field }
    end
  end
  table.sort(kept, function(one, other)
    return one.order < other.order or (one.order == other.order and one.field < other.field)
  end)
  for i = 2, #kept - REMEMBERED + 1 do
    redis.call('HDEL', KEYS[1] .. 'h:' .. id, kept[i].field)
  end
end
