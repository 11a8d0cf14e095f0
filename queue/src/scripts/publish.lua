#!lua flags=
-- Publishes what plugins say of themselves.
--
-- KEYS   the partition's prefix
-- ARGV   clock, per plugin: the digest of its file, its description (opaque)
-- Reply  1
-- use: clock

local seen = {}
for at = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[1] .. 'descr', ARGV[at], ARGV[at + 1])
  seen[#seen + 1] = digits(now)
  seen[#seen + 1] = ARGV[at]
end
if #seen > 0 then
  redis.call('ZADD', KEYS[1] .. 'descrs', unpack(seen))
end
return 1
