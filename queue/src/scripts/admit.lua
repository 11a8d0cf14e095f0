#!lua flags=allow-oom
-- Admits a request of an API key, or does not.
--
-- KEYS   the partition's prefix
-- ARGV   clock, the key's id, how many requests a full bucket holds, in how many milliseconds an
--        empty one fills
-- Reply  1 if it is admitted, what is missing in the bucket now; nothing if there is no such key or
--        it is revoked
--
-- The bucket is kept as the time at which it is full again: whole milliseconds, and the rest in
-- parts of one, of which there are as many as requests in a full bucket. So a request takes a whole
-- number of parts, and nothing is ever rounded. What is missing is counted in these parts, too.
--
-- Invariants: in no span are more admitted than a full bucket and what flowed into it; a bucket is
-- full after `per`, whatever the clock does.
-- use: clock record key

local P, id = KEYS[1], ARGV[2]
local requests, per = tonumber(ARGV[3]), tonumber(ARGV[4])
local key = key_of(id)
if not key or key.revoked ~= '' then
  return false
end
local whole, parts = string.match(redis.call('HGET', P .. 'buckets', id) or '', '^(%d+) (%d+)$')
local missing = whole and math.max(0, (tonumber(whole) - now) * requests + tonumber(parts)) or 0
-- More than a bucket can be missing only if the clock stepped back.
local stepped_back = missing > per * requests
missing = math.min(missing, per * requests)
local admitted = missing + per <= per * requests
if admitted then
  missing = missing + per
end
if admitted or stepped_back then
  local rest = missing % requests
  redis.call('HSET', P .. 'buckets', id, digits(now + (missing - rest) / requests) .. ' ' .. digits(rest))
end
return { admitted and 1 or 0, digits(missing) }
