#!lua flags=allow-oom
-- Gives leases back: the tasks are ready again as they were, and no attempt is counted.
--
-- KEYS   the partition's prefix
-- ARGV   clock, then per lease: id, token
-- Reply  a letter per lease (o: released, s: the lease is another's)
--
-- Invariant: only the holder of a lease gives it back; the task returns with the score and the
-- sequence with which it was claimed.
-- use: clock record task ready limits

local P = KEYS[1]
local verdicts = {}
for at = 2, #ARGV, 2 do
  local id, token = ARGV[at], ARGV[at + 1]
  local run = redis.call('HGET', P .. 'run', id)
  local verdict = 's'
  if run and claim_of(run) == token then
    local def, s = definition(id), state(id)
    s.by = 'release ' .. token
    make_ready(id, def, s)
    leave(id, def.name, def.key)
    write_state(id, s)
    redis.call('ZREM', P .. 'l', id)
    redis.call('HDEL', P .. 'run', id)
    redis.call('HDEL', P .. 'prog', id)
    verdict = 'o'
  elseif state(id).by == 'release ' .. token then
    verdict = 'o'
  end
  verdicts[#verdicts + 1] = verdict
end
return table.concat(verdicts)
