-- A task as scripts see it: its definition's header (`d:`), which never changes, and its state
-- (`s:`), which is there only once the task has left its first path.

-- A header is shorter than this, however long its task.
local HEADER = 1024

local function definition(id)
  local record = redis.call('GETRANGE', KEYS[1] .. 'd:' .. id, 0, HEADER - 1)
  local f = fields_of(record, 10)
  return {
    seq = f[1], priority = tonumber(f[2]), created = tonumber(f[3]),
    ns = f[4], name = f[4] .. ':' .. f[5], max_lost = tonumber(f[7]),
  }
end

local function state(id)
  local record = redis.call('GET', KEYS[1] .. 's:' .. id)
  if not record then
    return { ended = 0, failures = 0, lost = 0, due = '', priority = '', base = '', by = '', kind = '', error = '' }
  end
  local f, tail = fields_of(record, 8)
  return {
    ended = tonumber(f[1]), failures = tonumber(f[2]), lost = tonumber(f[3]), due = f[4],
    priority = f[5], base = f[6], by = f[7], kind = f[8], error = string.sub(record, tail),
  }
end

local function write_state(id, s)
  local fields = pack({
    digits(s.ended), digits(s.failures), digits(s.lost), s.due, s.priority, s.base, s.by, s.kind,
  })
  redis.call('SET', KEYS[1] .. 's:' .. id, VERSION .. fields .. s.error)
end

-- A finished task's record (`x:`): how, when and by which claim it ended.
local function finished(token, status, kind, attempt, started, tail)
  return VERSION .. pack({ token, status, kind, digits(attempt), started, digits(now) }) .. tail
end

-- A claim as `run` holds it: its token and when it was made.
local function claim_of(run)
  return string.match(run, '^(%S+) (%d+)$')
end

