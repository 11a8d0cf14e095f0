#!lua flags=allow-oom
-- Prolongs the leases that a worker instance still holds; at the same time its sign of life.
--
-- KEYS   the partition's prefix
-- ARGV   clock, instance, what the worker says of itself (opaque), count of jobs it runs, their
--        names, then per lease: id, token, progress (opaque, or '' for none)
-- Reply  the time, the length of a lease, the ids of the leases that are lost
--
-- Invariant: a lease is prolonged only for the token that holds it.
-- use: clock record task beat

local P = KEYS[1]
local instance, info, jobs = ARGV[2], ARGV[3], tonumber(ARGV[4])
local STEP = 3
local first = 5 + jobs
local lease = lease_length()
beat(lease)

local ids = {}
for at = first, #ARGV, STEP do
  ids[#ids + 1] = ARGV[at]
end
local runs = #ids > 0 and redis.call('HMGET', P .. 'run', unpack(ids)) or {}

local lost, leases, progress = {}, {}, {}
for i, id in ipairs(ids) do
  local at = first + (i - 1) * STEP
  if runs[i] and claim_of(runs[i]) == ARGV[at + 1] then
    leases[#leases + 1] = digits(now + lease)
    leases[#leases + 1] = id
    if ARGV[at + 2] ~= '' then
      progress[#progress + 1] = id
      progress[#progress + 1] = ARGV[at + 2]
    end
  else
    lost[#lost + 1] = id
  end
end

if #leases > 0 then
  redis.call('ZADD', P .. 'l', unpack(leases))
end
if #progress > 0 then
  redis.call('HSET', P .. 'prog', unpack(progress))
end
redis.call('ZADD', P .. 'w', digits(now), instance)
redis.call('SET', P .. 'w:' .. instance, info)
local advertised = {}
for at = 5, 4 + jobs do
  advertised[#advertised + 1] = digits(now)
  advertised[#advertised + 1] = ARGV[at]
end
if jobs > 0 then
  redis.call('ZADD', P .. 'j', unpack(advertised))
end
return { digits(now), digits(lease), lost }
