#!lua flags=allow-oom
-- Tells that an operator is about to do something.
--
-- KEYS   the partition's prefix
-- ARGV   clock, its id, namespace or '', tail (opaque)
-- Reply  its number
--
-- Invariants: numbers grow by one; the newest 10,000 are kept.
-- use: clock record action

local P, id = KEYS[1], ARGV[2]
local known = redis.call('HGET', P .. 'actids', id)
if known then
  return known
end
local number = redis.call('INCRBY', P .. 'actseq', 1)
write_action(number, { at = now_digits, id = id, ns = ARGV[3], status = '', tail = ARGV[4] })
redis.call('HSET', P .. 'actids', id, digits(number))
local oldest = action_of(number - KEPT)
if oldest then
  redis.call('HDEL', P .. 'acts', digits(number - KEPT))
  redis.call('HDEL', P .. 'actids', oldest.id)
end
return digits(number)
