#!lua flags=no-writes
-- How many tasks are ready in the queues of a namespace, and since when.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace
-- Reply  how many are ready in queues that are not named, since there are many; per queue, by name: name,
--        1 if it is paused or 0, how many are ready, how many of these are parked, how long the oldest of
--        them has been ready in milliseconds (or '')
--
-- The oldest is looked for from priority to priority, in a bounded number of steps: behind so many
-- priorities an older one may be overlooked. Where waiting is worth priority, the first is taken to be it.
-- use: clock record task ready

local P, ns = KEYS[1], ARGV[2]
local QUEUES = 500
local PRIORITIES = 32
local steps_left = 4096

-- When the first task of a set could have started.
local function start_of(member)
  local id = id_of(member)
  local def = definition(id)
  return def and (tonumber(state(id).base) or def.created)
end

-- Since when the oldest task of a set has been ready, or nil.
local function oldest_of(set, weight)
  local oldest
  local from = '-inf'
  for _ = 1, PRIORITIES do
    local first = steps_left > 0
      and redis.call('ZRANGEBYSCORE', set, from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1) or {}
    steps_left = steps_left - 1
    if not first[1] then
      break
    elseif weight ~= DEFAULT_WEIGHT then
      return start_of(first[1])
    end
    local points = math.floor(tonumber(first[2]) / weight)
    local at = tonumber(first[2]) - points * weight
    oldest = oldest and math.min(oldest, at) or at
    from = digits((points + 1) * weight)
  end
  return oldest
end

local queues = {}
for _, name in ipairs(redis.call('HKEYS', P .. 'q')) do
  if string.sub(name, 1, #ns + 1) == ns .. ':' then
    local ready, parked = redis.call('ZCARD', P .. 'r:' .. name), redis.call('ZCARD', P .. 'parked:' .. name)
    queues[#queues + 1] = { name = name, ready = ready + parked, parked = parked }
  end
end
table.sort(queues, function(one, other)
  return one.ready > other.ready or (one.ready == other.ready and one.name < other.name)
end)
local elsewhere = 0
for i = #queues, QUEUES + 1, -1 do
  elsewhere = elsewhere + queues[i].ready
  queues[i] = nil
end
table.sort(queues, function(one, other)
  return one.name < other.name
end)

local reply = {}
for _, queue in ipairs(queues) do
  local settings = settings_of(queue.name)
  local oldest = queue.ready > queue.parked and oldest_of(P .. 'r:' .. queue.name, settings.weight)
  local parked = queue.parked > 0 and oldest_of(P .. 'parked:' .. queue.name, settings.weight)
  oldest = oldest and parked and math.min(oldest, parked) or oldest or parked
  reply[#reply + 1] = string.sub(queue.name, #ns + 2)
  reply[#reply + 1] = settings.paused and 1 or 0
  reply[#reply + 1] = queue.ready
  reply[#reply + 1] = queue.parked
  reply[#reply + 1] = oldest and digits(math.max(0, now - oldest)) or ''
end
return { elsewhere, reply }
