#!lua flags=allow-oom
-- Ends expired leases (reap), makes due tasks ready (promote), forgets workers long gone. Any
-- process calls it; each call takes the next slice.
--
-- KEYS   the partition's prefix
-- ARGV   clock
-- Reply  the time, when the next task is due (or ''), how many became ready because they were
--        due, the reaped leases (id, token, and `ready` or `failed`)
--
-- Invariants: a task whose lease ended is ready again, or FAILED once it has lost as many workers
-- as it may; a lease lies no further in the future than a clock that stepped back explains.
-- use: clock record task ready

local P = KEYS[1]
local SLICE = 100
local FORGET_WORKER = 3600 * 1000
local FORGET_JOB = 24 * 3600 * 1000
local lease = lease_length()

local beyond = redis.call('ZRANGEBYSCORE', P .. 'l', '(' .. digits(now + 2 * lease), '+inf', 'LIMIT', 0, SLICE)
for _, id in ipairs(beyond) do
  redis.call('ZADD', P .. 'l', digits(now + 1), id)
end

local reaped = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'l', '-inf', digits(now), 'LIMIT', 0, SLICE)) do
  local def, s = definition(id), state(id)
  local token, started = claim_of(redis.call('HGET', P .. 'run', id))
  local word = 'ready'
  s.lost = s.lost + 1
  if s.lost >= def.max_lost then
    redis.call('SET', P .. 'x:' .. id, finished(token, 'FAILED', 'worker_lost', s.ended + 1, started, ''))
    redis.call('ZADD', P .. 'fin:' .. def.ns .. ':FAILED', digits(now), id)
    redis.call('HINCRBY', P .. 'stats', def.ns .. ':FAILED', 1)
    word = 'failed'
  else
    make_ready(id, def, s)
  end
  s.ended, s.by, s.kind, s.error = s.ended + 1, 'reap ' .. token, 'worker_lost', ''
  write_state(id, s)
  redis.call('HDEL', P .. 'run', id)
  redis.call('HDEL', P .. 'prog', id)
  redis.call('ZREM', P .. 'l', id)
  redis.call('HINCRBY', P .. 'stats', def.ns .. ':lost', 1)
  reaped[#reaped + 1] = id
  reaped[#reaped + 1] = token
  reaped[#reaped + 1] = word
end

local promoted = promote(SLICE)

local gone = redis.call('ZRANGEBYSCORE', P .. 'w', '-inf', digits(now - FORGET_WORKER), 'LIMIT', 0, SLICE)
for _, instance in ipairs(gone) do
  redis.call('DEL', P .. 'w:' .. instance, P .. 'c:' .. instance)
  redis.call('ZREM', P .. 'w', instance)
end
for _, job in ipairs(redis.call('ZRANGEBYSCORE', P .. 'j', '-inf', digits(now - FORGET_JOB), 'LIMIT', 0, SLICE)) do
  redis.call('ZREM', P .. 'j', job)
end
return { digits(now), next_due(), promoted, reaped }
