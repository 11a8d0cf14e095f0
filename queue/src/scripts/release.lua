#!lua flags=allow-oom
-- Gives leases back: the tasks are ready again as they were, and no attempt is counted.
--
-- KEYS   the partition's prefix
-- ARGV   clock, then per lease: id, token
-- Reply  a letter per lease (o: released, s: the lease is another's)
--
-- Invariant: only the holder of a lease gives it back; the task returns with the score and the
-- sequence with which it was claimed. `released` remembers for ten minutes which claims were given
-- back, so that a release that comes again is answered the same, whatever came in between.
-- use: clock record task ready limits

local P = KEYS[1]
local verdicts, released = {}, {}
for at = 2, #ARGV, 2 do
  local id, token = ARGV[at], ARGV[at + 1]
  local claim = id .. ' ' .. token
  local run = redis.call('HGET', P .. 'run', id)
  local verdict = 's'
  if run and claim_of(run) == token then
    local def = definition(id)
    make_ready(id, def, state(id))
    leave(id, def.name, def.key)
    redis.call('ZREM', P .. 'l', id)
    redis.call('HDEL', P .. 'run', id)
    redis.call('HDEL', P .. 'prog', id)
    verdict = 'o'
  elseif redis.call('ZSCORE', P .. 'released', claim) then
    verdict = 'o'
  end
  if verdict == 'o' then
    released[#released + 1] = digits(now)
    released[#released + 1] = claim
  end
  verdicts[#verdicts + 1] = verdict
end
if #released > 0 then
  redis.call('ZADD', P .. 'released', unpack(released))
end
return table.concat(verdicts)
