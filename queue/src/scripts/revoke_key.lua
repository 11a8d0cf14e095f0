#!lua flags=allow-oom
-- Revokes an API key.
--
-- KEYS   the partition's prefix
-- ARGV   clock, its id
-- Reply  when it was revoked, or nothing for an unknown one
--
-- Invariants: a key is revoked once and for ever; of revoked ones the last 1,000 are kept; a revoked
-- one has no bucket.
-- use: clock record key

local P, id = KEYS[1], ARGV[2]
local KEPT = 1000
local key = key_of(id)
if not key then
  return false
elseif key.revoked ~= '' then
  return key.revoked
end
key.revoked = now_digits
write_key(id, key)
redis.call('HDEL', P .. 'buckets', id)
redis.call('ZADD', P .. 'revoked', digits(keys_changed()), id)
local too_many = redis.call('ZCARD', P .. 'revoked') - KEPT
if too_many > 0 then
  local oldest = redis.call('ZPOPMIN', P .. 'revoked', too_many)
  for i = 1, #oldest, 2 do
    redis.call('HDEL', P .. 'keys', oldest[i])
  end
end
return key.revoked
