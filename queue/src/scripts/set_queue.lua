#!lua flags=
-- Changes the settings of a queue, which is made if it is not there.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace:queue, weight, rate, period in milliseconds, concurrency, limit per
--        concurrency key, defaults (opaque)
-- Reply  1, or 0 if the weight would change while tasks are ready: scores of two weights do not
--        compare
--
-- Invariants: `f:` holds just the tasks in flight of a queue whose concurrency is limited; parked
-- tasks whose key has room are freed by this call and the sweeps after it.
-- use: clock record task ready limits page loosen

local P, name = KEYS[1], ARGV[2]
local settings = settings_of(name)
local weight = tonumber(ARGV[3])
if weight ~= settings.weight
  and redis.call('ZCARD', P .. 'r:' .. name) + redis.call('ZCARD', P .. 'parked:' .. name) > 0 then
  return 0
end
local concurrency, per_key = tonumber(ARGV[6]), tonumber(ARGV[7])
if concurrency > 0 and settings.concurrency == 0 then
  for _, id in ipairs(redis.call('HKEYS', P .. 'run')) do
    local def = definition(id)
    if def and def.name == name then
      redis.call('ZADD', P .. 'f:' .. name, 0, id)
    end
  end
elseif concurrency == 0 then
  redis.call('DEL', P .. 'f:' .. name)
end
local more_per_key = per_key > settings.per_key
local rate, period = tonumber(ARGV[4]), tonumber(ARGV[5])
settings.weight, settings.concurrency, settings.per_key = weight, concurrency, per_key
settings.rate, settings.period, settings.defaults = rate, period, ARGV[8]
if rate == 0 then
  redis.call('HDEL', P .. 'rate', name)
end
if redis.call('HSET', P .. 'q', name, queue_settings(settings)) == 1 then
  redis.call('ZADD', P .. 'wake', 0, '1')
end
if more_per_key then
  redis.call('HSET', P .. 'loose', name, ' ')
  loosen(name)
end
mark(name)
return 1
