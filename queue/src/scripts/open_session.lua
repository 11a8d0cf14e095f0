#!lua flags=allow-oom
-- Opens a session.
--
-- KEYS   the partition's prefix
-- ARGV   clock, the hash of its token, the id of its key, how long it lasts in milliseconds
-- Reply  1
--
-- Invariant: there are 10,000 at most; the first that were opened go first.
-- use: clock session

local P, token = KEYS[1], ARGV[2]
local MOST, SLICE = 10000, 100
if redis.call('HEXISTS', P .. 'sess', token) == 1 then
  return 1
end
drop_sessions(redis.call('ZRANGEBYSCORE', P .. 'sessends', '-inf', now_digits, 'LIMIT', 0, SLICE))
local too_many = redis.call('HLEN', P .. 'sess') + 1 - MOST
if too_many > 0 then
  drop_sessions(redis.call('ZRANGE', P .. 'sessions', 0, too_many - 1))
end
local last = redis.call('ZREVRANGEBYSCORE', P .. 'sessions', '+inf', '-inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
redis.call('HSET', P .. 'sess', token, ARGV[3])
redis.call('ZADD', P .. 'sessends', digits(now + tonumber(ARGV[4])), token)
redis.call('ZADD', P .. 'sessions', digits(math.max(now, tonumber(last or 0) + 1)), token)
return 1
