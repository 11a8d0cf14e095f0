#!lua flags=
-- Accepts new tasks, all of them or, on an error, none.
--
-- KEYS   the partition's prefix
-- ARGV   clock, then per task: id, namespace:queue, priority, header (the packed fields of the
--        definition from the namespace on), body (the submitted task, opaque)
-- Reply  per task: when it was accepted, in milliseconds
--
-- Invariant: a task that is there already is answered as accepted and not written again; every
-- other is defined and ready (in one place) before the reply.
-- use: clock record ready

local P = KEYS[1]
local STEP = 5
local SEQ_LIMIT = 17592186044416 -- 2^44: eleven hexadecimal digits

local function known(id)
  local record = redis.call('GETRANGE', P .. 'd:' .. id, 0, 1023)
  return record ~= '' and fields_of(record, 3)[3]
end

local arrival = redis.call('HMGET', P .. 'seq', 'last', 'ms')
local seq = tonumber(arrival[1] or 0)
-- A clock that steps back must not let a later task overtake an earlier one.
local base = math.max(now, tonumber(arrival[2] or 0))

local reply, fresh, keys = {}, {}, {}
for at = 2, #ARGV, STEP do
  keys[#keys + 1] = P .. 'd:' .. ARGV[at]
end
local some_known = redis.call('EXISTS', unpack(keys)) > 0
local seen = {}
for at = 2, #ARGV, STEP do
  local id = ARGV[at]
  local accepted = seen[id] or (some_known and known(id))
  reply[#reply + 1] = accepted or digits(base)
  if not accepted then
    seen[id] = digits(base)
    fresh[#fresh + 1] = at
  end
end
if #fresh == 0 then
  return reply
end
if seq + #fresh >= SEQ_LIMIT then
  return redis.error_reply('ERR the arrival sequence is used up')
end

local definitions, ready, names, submitted = {}, {}, {}, {}
for i, at in ipairs(fresh) do
  local id, name, priority = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if not ready[name] then
    ready[name] = {}
    names[#names + 1] = name
  end
  local arrived = string.format('%011x', seq + i)
  definitions[#definitions + 1] = P .. 'd:' .. id
  definitions[#definitions + 1] =
    VERSION .. pack({ arrived, priority, digits(base) }) .. ARGV[at + 3] .. ARGV[at + 4]
  local queue = ready[name]
  queue[#queue + 1] = score(tonumber(priority), weight_of(name), base)
  queue[#queue + 1] = arrived .. id
  local ns = string.match(name, '^[^:]+')
  submitted[ns] = (submitted[ns] or 0) + 1
end

redis.call('HSET', P .. 'seq', 'last', digits(seq + #fresh), 'ms', digits(base))
redis.call('MSET', unpack(definitions))
for _, name in ipairs(names) do
  redis.call('ZADD', P .. 'r:' .. name, unpack(ready[name]))
  mark(name)
  if redis.call('HSETNX', P .. 'q', name, queue_settings('0', DEFAULT_WEIGHT)) == 1 then
    -- No worker waits on a queue that it does not know yet.
    redis.call('ZADD', P .. 'wake', 0, '1')
  end
  local ns = string.match(name, '^[^:]+')
  if submitted[ns] then
    redis.call('HINCRBY', P .. 'stats', ns .. ':submitted', submitted[ns])
    submitted[ns] = nil
  end
end
return reply
