#!lua flags=allow-oom
-- Keeps what an attempt can go on from, in place of what was kept before.
--
-- KEYS   the partition's prefix
-- ARGV   clock, id, token, bytes (opaque)
-- Reply  1; 0 if the lease is another's
--
-- Invariant: only the holder of a lease changes what its task goes on from.
-- use: clock record task

local run = redis.call('HGET', KEYS[1] .. 'run', ARGV[2])
if not run or claim_of(run) ~= ARGV[3] then
  return 0
end
redis.call('SET', KEYS[1] .. 'ck:' .. ARGV[2], ARGV[4])
return 1
