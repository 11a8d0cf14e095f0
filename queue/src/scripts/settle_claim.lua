#!lua flags=allow-oom
-- Settles attempts, then claims tasks for the free slots of one worker instance.
--
-- KEYS   the partition's prefix
-- ARGV   clock, instance, number of this call, count of settlements, per settlement: id, token,
--        action (COMPLETED, FAILED, retry, postpone), namespace, attempt, kind, delay in
--        milliseconds, tail (outcome or error, opaque), log; then the count of tasks wanted, and
--        the names (namespace:queue) of the queues, none meaning all there are
-- Reply  'ok' or 'superseded', the time, the length of a lease, when the next task is due (or
--        ''), a letter per settlement (o: settled, s: the lease is another's), the claimed tasks
--        (id, definition, state or ''), the queues that were asked when tasks are still wanted
--
-- Invariants: only the holder of a lease settles its task, once; a claimed task is in `l` and
-- `run` and nowhere else; the same number gets the same tasks again for as long as they are its own.
-- use: clock record task ready

local P = KEYS[1]
local instance, number, settlements = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local STEP = 9
local FIRST = 5
local wanted_at = FIRST + settlements * STEP
local token = instance .. '-' .. ARGV[3]
local lease = lease_length()

-- A claim's reply stays near 4 MiB: it is measured after each sixteen.
local POP = 16
local ENOUGH = 4 * 1024 * 1024

local function answer(word, verdicts, tasks, names)
  return { word, digits(now), digits(lease), next_due(), verdicts, tasks, names }
end

local function keys_of(kind, ids)
  local keys = {}
  for i, id in ipairs(ids) do
    keys[i] = P .. kind .. id
  end
  return keys
end

-- Appends the ids with their definitions and states; answers how many bytes that was.
local function describe(ids, tasks)
  local definitions = redis.call('MGET', unpack(keys_of('d:', ids)))
  local states = redis.call('MGET', unpack(keys_of('s:', ids)))
  local bytes = 0
  for i, id in ipairs(ids) do
    tasks[#tasks + 1] = id
    tasks[#tasks + 1] = definitions[i]
    tasks[#tasks + 1] = states[i] or ''
    bytes = bytes + #definitions[i]
  end
  return bytes
end

local function prolong(ids)
  local leases = {}
  for _, id in ipairs(ids) do
    leases[#leases + 1] = digits(now + lease)
    leases[#leases + 1] = id
  end
  redis.call('ZADD', P .. 'l', unpack(leases))
end

-- Was this call made before?
local last = redis.call('GET', P .. 'c:' .. instance)
if last then
  local kept, verdicts, joined = string.match(last, '^(%d+) (%a*) (.*)$')
  if number < tonumber(kept) then
    return answer('superseded', '', {}, {})
  end
  if number == tonumber(kept) then
    local ids, tasks = {}, {}
    for id in string.gmatch(joined, '[^,]+') do
      local run = redis.call('HGET', P .. 'run', id)
      if run and claim_of(run) == token then
        ids[#ids + 1] = id
      end
    end
    if #ids > 0 then
      prolong(ids)
      describe(ids, tasks)
    end
    return answer('ok', verdicts, tasks, {})
  end
end

-- Which settlements are by the holder of the lease?
local verdicts, mine, settled_ids = {}, {}, {}
if settlements > 0 then
  local ids = {}
  for i = 1, settlements do
    ids[i] = ARGV[FIRST + (i - 1) * STEP]
  end
  local runs = redis.call('HMGET', P .. 'run', unpack(ids))
  for i, id in ipairs(ids) do
    local at = FIRST + (i - 1) * STEP
    local holder, started = '', ''
    if runs[i] then
      holder, started = claim_of(runs[i])
    end
    if holder == ARGV[at + 1] then
      mine[#mine + 1] = { at = at, id = id, started = started }
      settled_ids[#settled_ids + 1] = id
      verdicts[i] = 'o'
    else
      -- Settled before by this very claim? Then the answer is the same again.
      local done = redis.call('GETRANGE', P .. 'x:' .. id, 0, 1023)
      local by = done ~= '' and fields_of(done, 1)[1] or state(id).by
      verdicts[i] = (by == ARGV[at + 1] or by == 'retry ' .. ARGV[at + 1]) and 'o' or 's'
    end
  end
end

-- Settle.
local records, ends, order, counts, counted = {}, {}, {}, {}, {}
local function count(field)
  if not counts[field] then
    counted[#counted + 1] = field
  end
  counts[field] = (counts[field] or 0) + 1
end
for _, task in ipairs(mine) do
  local id, at = task.id, task.at
  local action, ns, attempt, kind = ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5]
  local tail, log = ARGV[at + 7], ARGV[at + 8]
  if action == 'retry' or action == 'postpone' then
    local def, s = definition(id), state(id)
    if action == 'retry' then
      s.ended, s.failures = s.ended + 1, s.failures + 1
    end
    s.due = digits(now + tonumber(ARGV[at + 6]))
    s.base, s.by, s.kind, s.error = s.due, 'retry ' .. ARGV[at + 1], kind, tail
    write_state(id, s)
    redis.call('ZADD', P .. 'due', s.due, def.seq .. id)
    count(ns .. ':' .. action)
  else
    records[#records + 1] = P .. 'x:' .. id
    records[#records + 1] = finished(ARGV[at + 1], action, kind, tonumber(attempt), task.started, tail)
    local set = P .. 'fin:' .. ns .. ':' .. action
    if not ends[set] then
      ends[set] = {}
      order[#order + 1] = set
    end
    table.insert(ends[set], digits(now))
    table.insert(ends[set], id)
    count(ns .. ':' .. action)
  end
  if log ~= '' then
    records[#records + 1] = P .. 'log:' .. id .. ':' .. attempt
    records[#records + 1] = log
  end
end
if #mine > 0 then
  redis.call('ZREM', P .. 'l', unpack(settled_ids))
  redis.call('HDEL', P .. 'run', unpack(settled_ids))
  redis.call('HDEL', P .. 'prog', unpack(settled_ids))
  for _, set in ipairs(order) do
    redis.call('ZADD', set, unpack(ends[set]))
  end
  for _, field in ipairs(counted) do
    redis.call('HINCRBY', P .. 'stats', field, counts[field])
  end
end
if #records > 0 then
  redis.call('MSET', unpack(records))
end

-- Claim.
local wanted = tonumber(ARGV[wanted_at])
local claimed, tasks, names = {}, {}, {}
if wanted > 0 then
  promote(100)
  for at = wanted_at + 1, #ARGV do
    names[#names + 1] = ARGV[at]
  end
  if #names == 0 then
    names = redis.call('HKEYS', P .. 'q')
    table.sort(names)
  end
end
local bytes = 0
for turn = 1, #names do
  -- Another queue comes first each time.
  local at = (number + turn) % #names + 1
  local name = names[at]
  if not parse_settings(redis.call('HGET', P .. 'q', name)).paused then
    local popped = POP
    while popped == POP and wanted > 0 and bytes < ENOUGH do
      local members = redis.call('ZPOPMIN', P .. 'r:' .. name, math.min(POP, wanted))
      popped = #members / 2
      local ids = {}
      for i = 1, #members, 2 do
        ids[#ids + 1] = string.sub(members[i], 12)
        claimed[#claimed + 1] = ids[#ids]
      end
      if popped > 0 then
        wanted = wanted - popped
        bytes = bytes + describe(ids, tasks)
      end
    end
    if (wanted == 0 or bytes >= ENOUGH) and redis.call('ZCARD', P .. 'r:' .. name) > 0 then
      mark(name)
    end
  end
end
if #claimed > 0 then
  prolong(claimed)
  local runs = {}
  for _, id in ipairs(claimed) do
    runs[#runs + 1] = id
    runs[#runs + 1] = token .. ' ' .. digits(now)
  end
  redis.call('HSET', P .. 'run', unpack(runs))
end
if #claimed > 0 or settlements > 0 then
  local kept = ARGV[3] .. ' ' .. table.concat(verdicts) .. ' ' .. table.concat(claimed, ',')
  redis.call('SET', P .. 'c:' .. instance, kept)
end
return answer('ok', table.concat(verdicts), tasks, wanted > 0 and names or {})
