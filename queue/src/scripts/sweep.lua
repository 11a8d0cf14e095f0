#!lua flags=allow-oom
-- Does what time asks for: ends expired leases (reap), makes due tasks ready (promote), ends
-- tasks that did not start in time, tells children of their parents' end, frees tasks of whose key
-- more may run than before, forgets what nobody needs. Any process calls it; each call takes the next slice.
--
-- KEYS   the partition's prefix
-- ARGV   clock
-- Reply  the time, when the next task is due (or ''), how many became ready because they were
--        due, the reaped leases (id, token, and `ready` or `failed`), whether there is more to do,
--        whether schedules are due, whether there are operations to carry on
--
-- Invariants: a task whose lease ended is ready again, or FAILED once it has lost as many leases
-- as it may; a lease lies no further in the future than a clock that stepped back explains.
-- use: clock record task ready limits ends numbers finish page loosen beat

local P = KEYS[1]
local SLICE = 100
-- So many lost leases of any kind convict.
local MOST_LOST = 10
local FORGET_WORKER = 3600 * 1000
local FORGET_JOB = 24 * 3600 * 1000
local FORGET_WAITER = 600 * 1000
local FORGET_REQUEST = 600 * 1000
local FORGET_OPERATION = 24 * 3600 * 1000
local KEEP_SPAN = 2 * 3600 * 1000
local FORGET_PAIR = 24 * 3600 * 1000
local FORGET_DESCRIPTION = 7 * 24 * 3600 * 1000
local lease = lease_length()
local may_reap = beat(lease)

-- After a clock stepped back a lease may lie far in the future. It is cut to one that starts now:
-- a living worker renews it in time, and of a dead one it ends soon enough.
local beyond = redis.call('ZRANGEBYSCORE', P .. 'l', '(' .. digits(now + 2 * lease), '+inf', 'LIMIT', 0, SLICE)
for _, id in ipairs(beyond) do
  redis.call('ZADD', P .. 'l', digits(now + lease), id)
end

local reaped = {}
local expired = may_reap
  and redis.call('ZRANGEBYSCORE', P .. 'l', '-inf', digits(now), 'LIMIT', 0, SLICE) or {}
local function reap(id, def)
  local s = state(id)
  local token, started = claim_of(redis.call('HGET', P .. 'run', id))
  redis.call('HINCRBY', P .. 'stats', def.ns .. ':lost', 1)
  -- The last loss that convicts is one that a worker saw itself: it runs such a task apart. A
  -- lease that merely ends says too little for that.
  if s.lost < def.max_lost - 1 then
    s.lost = s.lost + 1
  else
    s.spared = s.spared + 1
  end
  s.ended, s.by, s.kind = s.ended + 1, 'reap ' .. token, 'worker_lost'
  remember_attempt(id, s.ended, 'LOST', token, 'worker_lost', started, digits(now), '')
  local expires = expiry(def, s)
  local word, kind = 'ready', 'worker_lost'
  if s.lost + s.spared >= MOST_LOST then
    word = 'failed'
  elseif expires and expires <= now then
    word, kind = 'failed', 'expired'
  end
  write_state(id, s)
  if word == 'failed' then
    finish(id, def, 'FAILED', kind, 'reap ' .. token, s.ended, started, '')
  else
    note(def.ns, def.queue, def.job, 'r:worker_lost=1')
    make_ready(id, def, s)
  end
  leave(id, def.name, def.key)
  reaped[#reaped + 1] = id
  reaped[#reaped + 1] = token
  reaped[#reaped + 1] = word
end
for _, id in ipairs(expired) do
  local def = definition(id)
  if def then
    reap(id, def)
  end
  redis.call('HDEL', P .. 'run', id)
  redis.call('HDEL', P .. 'prog', id)
  redis.call('ZREM', P .. 'l', id)
end

local promoted = promote(SLICE)
local late = expire(SLICE)
local told = unblock(SLICE)
local loose = redis.call('HKEYS', P .. 'loose')
table.sort(loose)
if loose[1] then
  loosen(loose[1])
end
count_noted()

local function forget(set, before, each)
  local members = redis.call('ZRANGEBYSCORE', P .. set, '-inf', digits(before), 'LIMIT', 0, SLICE)
  if #members > 0 then
    redis.call('ZREM', P .. set, unpack(members))
  end
  for _, member in ipairs(members) do
    each(member)
  end
  return #members
end
forget('w', now - FORGET_WORKER, function(instance)
  redis.call('DEL', P .. 'w:' .. instance)
end)
-- A worker's last call is kept for an hour after it was made, whether its worker lives or not: a
-- copy of it must not claim anything under the same token.
forget('calls', now - FORGET_WORKER, function(instance)
  local at = string.match(redis.call('GET', P .. 'c:' .. instance) or '', '^%d+ (%d+) ')
  if at and tonumber(at) > now - FORGET_WORKER then
    redis.call('ZADD', P .. 'calls', at, instance)
  else
    redis.call('DEL', P .. 'c:' .. instance)
  end
end)
forget('j', now - FORGET_JOB, function() end)
forget('waiters', now - FORGET_WAITER, function() end)
forget('purged', now - FORGET_REQUEST, function() end)
forget('released', now - FORGET_REQUEST, function() end)
forget('asked', now - FORGET_REQUEST, function(request)
  redis.call('HDEL', P .. 'answers', request)
end)
-- What happened longer ago than anybody may ask for, pairs that were silent for a day, and processes
-- that told of it and are gone.
forget('spans', now - KEEP_SPAN, function(span)
  redis.call('DEL', P .. 'n:' .. span)
end)
forget('summed', now - FORGET_PAIR, function(pair)
  local ns, name = string.match(pair, '^([^:]*):(.*)$')
  redis.call('HDEL', P .. 'sums:' .. ns, name)
end)
forget('tellers', now - FORGET_WORKER, function(teller)
  redis.call('HDEL', P .. 'told', teller)
end)
forget('descrs', now - FORGET_DESCRIPTION, function(digest)
  redis.call('HDEL', P .. 'descr', digest)
end)
forget('opsdone', now - FORGET_OPERATION, function(operation)
  redis.call('DEL', P .. 'op:' .. operation)
end)
-- Idempotency keys that outlived their task.
local outlived = forget('iexp', now, function(key)
  redis.call('DEL', P .. 'i:' .. key)
end)

local due = next_due()
local more = #expired == SLICE or promoted == SLICE or late == SLICE or told >= SLICE or outlived == SLICE
  or (loose[1] and redis.call('EXISTS', P .. 'loose') == 1)
local ticks = redis.call('ZRANGEBYSCORE', P .. 'ticks', '-inf', digits(now), 'LIMIT', 0, 1)
return {
  digits(now), due and digits(due) or '', promoted, reaped, more and 1 or 0, #ticks,
  redis.call('EXISTS', P .. 'ops'),
}
