#!lua flags=
-- Makes an API key.
--
-- KEYS   the partition's prefix
-- ARGV   clock, its id, tail (opaque)
-- Reply  when it was made; '' if there are too many; `taken` if another key has the id
--
-- Invariants: a key never changes but for being revoked; of those that are not there are 10,000 at
-- most.
-- use: clock record key

local P, id = KEYS[1], ARGV[2]
local MOST = 10000
local key = key_of(id)
if key then
  return key.tail == ARGV[3] and key.created or 'taken'
elseif redis.call('HLEN', P .. 'keys') - redis.call('ZCARD', P .. 'revoked') >= MOST then
  return ''
end
write_key(id, { created = now_digits, revoked = '', tail = ARGV[3] })
keys_changed()
return now_digits
