#!lua flags=no-writes
-- What plugins say of themselves.
--
-- KEYS   the partition's prefix
-- ARGV   clock, digests
-- Reply  per digest: the description (opaque), or ''

local reply = {}
for at = 2, #ARGV do
  reply[#reply + 1] = redis.call('HGET', KEYS[1] .. 'descr', ARGV[at]) or ''
end
return reply
