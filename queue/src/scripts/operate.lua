#!lua flags=allow-oom
-- Carries the oldest operation on by one slice. Any process calls it.
--
-- KEYS   the partition's prefix
-- ARGV   clock
-- Reply  1 while there is more to do
--
-- Invariant: what was done to a task and how far the operation has come are one step.
-- use: clock record task ready limits ends numbers finish place steer page erase

local P = KEYS[1]
local SLICE = 200

local id = redis.call('ZRANGE', P .. 'ops', 0, 0)[1]
if not id then
  return 0
end
local key = P .. 'op:' .. id
local f = redis.call('HMGET', key, 'kind', 'dry', 'ns', 'queue', 'job', 'tag', 'since', 'before',
  'statuses', 'looked', 'matched', 'done', 'status', 'set', 'at', 'member', 'arrived', 'pass')
local kind, dry = f[1], f[2] == '1'
local filter = { ns = f[3], queue = f[4], job = f[5], tag = f[6], since = f[7], before = f[8] }
local looked, matched, done = tonumber(f[10]), tonumber(f[11]), tonumber(f[12])
local status, set, at, member = f[13], f[14], f[15], f[16]

-- Removes a waiting task; one that others wait for is cancelled instead, since they must learn.
local function purge(task)
  local def, s = definition(task), state(task)
  if redis.call('EXISTS', P .. 'p:' .. task) == 1 then
    return cancel(task, id)
  end
  local was = withdraw(task, def)
  if was then
    erase(task, def, 'CANCELLED', s.ended)
    -- Its submit may still be sent again.
    redis.call('ZADD', P .. 'purged', digits(now), task)
  end
  return was and 'ok' or 'wrong'
end

local function act(task)
  if kind == 'cancel' then
    return cancel(task, id)
  elseif kind == 'redrive' then
    return redrive(task, id)
  end
  return purge(task)
end

-- The first set that has not been walked to its end.
local walk, reached = {}, set == ''
for each in string.gmatch(f[9], '[^,]+') do
  for _, name in ipairs(sets_of(each, filter.ns, filter.queue)) do
    reached = reached or (each == status and name == set)
    if reached then
      walk[#walk + 1] = { status = each, set = name }
    end
  end
end

local left = SLICE
while left > 0 and #walk > 0 do
  local part = walk[1]
  local found, ended = candidates(part.set, false, at, member, left)
  for _, task in ipairs(found) do
    left, looked = left - 1, looked + 1
    at, member = task.score, task.member
    local def = definition(task.id)
    -- What was submitted after the operation was asked for is not meant.
    -- Nor is a task that it has redriven and that failed again.
    local anew = kind == 'redrive' and state(task.id).by == 'redrive ' .. id
    if def and not anew and matches(def, filter) and tonumber(def.seq, 16) <= tonumber(f[17]) then
      matched = matched + 1
      if not dry and act(task.id) == 'ok' then
        done = done + 1
      end
    end
  end
  if ended then
    table.remove(walk, 1)
    at, member = '', ''
  end
end
count_noted()
local more = #walk > 0
-- Tasks move between places while an operation passes: what waits for its key may be ready behind
-- it. It goes round until it finds nothing ('pass': what was done before this round). What was redriven may fail again: it goes round once.
local before = tonumber(f[18])
if not more and not dry and kind ~= 'redrive' and done > before then
  before, more = done, true
  walk = { { status = '', set = '' } }
end
redis.call('HSET', key, 'looked', digits(looked), 'matched', digits(matched), 'done', digits(done),
  'status', more and walk[1].status or '', 'set', more and walk[1].set or '', 'at', at, 'member', member,
  'finished', more and '' or digits(now), 'pass', digits(before))
if not more then
  redis.call('ZREM', P .. 'ops', id)
  redis.call('ZADD', P .. 'opsdone', digits(now), id)
end
return (more or redis.call('EXISTS', P .. 'ops') == 1) and 1 or 0
