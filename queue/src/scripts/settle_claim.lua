#!lua flags=allow-oom
-- Settles attempts, then claims tasks for the free slots of one worker instance.
--
-- KEYS   the partition's prefix
-- ARGV   clock, instance, number of this call, count of settlements, per settlement: id, token,
--        action (COMPLETED, FAILED, retry, unknown), namespace:queue, concurrency key, attempt,
--        kind, delay in milliseconds, tail (outcome or error, opaque), log, effects ('' or as
--        lib/effects.lua takes them); then the count of tasks wanted, and the queues, each:
--        namespace:queue, share; none meaning all there are
-- Reply  'ok' or 'superseded', the time, the length of a lease, when there may be something to
--        claim without a marker being set (or ''), a letter per settlement (o: settled as asked,
--        others as letter_of says, s: the lease is another's), the claimed tasks (id, definition,
--        state or '', the defaults of its queue), the queues that were asked when tasks are still
--        wanted
--
-- Invariants: only the holder of a lease settles its task, once; its effects are committed with its
-- completion or not at all; a claimed task is in `l` and `run` and nowhere else; the same number
-- gets the same tasks again for as long as they are its own.
-- use: clock record task ready limits ends numbers finish kin accept effects

local P = KEYS[1]
local instance, number, settlements = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local PER = 11
local FIRST = 5
local wanted_at = FIRST + settlements * PER
local token = instance .. '-' .. ARGV[3]
local lease = lease_length()

-- A claim's reply stays near 4 MiB: it is measured after each sixteen.
local POP = 16
local ENOUGH = 4 * 1024 * 1024

-- No call moves more than this to where it waits for something else than a worker.
local ASIDE = 500

-- How long a job may be unknown to all workers before its tasks fail.
local UNKNOWN_FOR = 600 * 1000

local soonest
local function soon(at)
  if at and (not soonest or at < soonest) then
    soonest = at
  end
end

local function answer(word, verdicts, tasks, names)
  soon(next_due())
  return { word, digits(now), digits(lease), soonest and digits(soonest) or '', verdicts, tasks, names }
end

local function keys_of(kind, ids)
  local keys = {}
  for i, id in ipairs(ids) do
    keys[i] = P .. kind .. id
  end
  return keys
end

-- Appends tasks with their definitions, their states and what their queue asks for; answers
-- how many bytes that was, and the ids of the tasks that have a definition, as all should.
local function describe(ids, defaults, tasks)
  local definitions = redis.call('MGET', unpack(keys_of('d:', ids)))
  local states = redis.call('MGET', unpack(keys_of('s:', ids)))
  local bytes, whole = 0, {}
  for i, id in ipairs(ids) do
    if definitions[i] then
      whole[#whole + 1] = id
      tasks[#tasks + 1] = id
      tasks[#tasks + 1] = definitions[i]
      tasks[#tasks + 1] = states[i] or ''
      tasks[#tasks + 1] = defaults or settings_of(parse_definition(definitions[i]).name).defaults
      bytes = bytes + #definitions[i]
    end
  end
  return bytes, whole
end

local function prolong(ids)
  local leases, ends = {}, digits(now + lease)
  for _, id in ipairs(ids) do
    leases[#leases + 1] = ends
    leases[#leases + 1] = id
  end
  redis.call('ZADD', P .. 'l', unpack(leases))
end

-- Was this call made before?
local last = redis.call('GET', P .. 'c:' .. instance)
if last then
  local kept, verdicts, joined = string.match(last, '^(%d+) %d+ (%a*) (.*)$')
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
      describe(ids, nil, tasks)
    end
    return answer('ok', verdicts, tasks, {})
  end
end

-- How a settlement was taken: as it was asked (o), tried again for a conflict (c), or FAILED for a
-- conflict (f), for effects that were refused (e), because the task expired (x) or its job is unknown (u).
local function letter_of(action, kind)
  if action ~= 'FAILED' then
    return kind == 'conflict' and 'c' or 'o'
  end
  return kind == 'conflict' and 'f' or kind == 'effect_limit' and 'e' or kind == 'expired' and 'x'
    or kind == 'unknown_job' and 'u' or 'o'
end

-- Which settlements are by the holder of the lease?
local verdicts, mine, settled_ids = {}, {}, {}
if settlements > 0 then
  local ids = {}
  for i = 1, settlements do
    ids[i] = ARGV[FIRST + (i - 1) * PER]
  end
  local runs = redis.call('HMGET', P .. 'run', unpack(ids))
  for i, id in ipairs(ids) do
    local at = FIRST + (i - 1) * PER
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
      local done = redis.call('GETRANGE', P .. 'x:' .. id, 0, HEADER - 1)
      local ended = done ~= '' and fields_of(done, 3)
      local s = not ended and state(id)
      if ended and ended[1] == ARGV[at + 1] then
        verdicts[i] = letter_of(ended[2], ended[3])
      else
        verdicts[i] = s and s.by == 'retry ' .. ARGV[at + 1] and letter_of('', s.kind) or 's'
      end
    end
  end
end

-- Settle.
local records, ends, order, counts, counted, ended = {}, {}, {}, {}, {}, {}
local function count(field)
  if not counts[field] then
    counted[#counted + 1] = field
  end
  counts[field] = (counts[field] or 0) + 1
end

local function conclude(task, ns, action, kind, tail)
  records[#records + 1] = P .. 'x:' .. task.id
  records[#records + 1] = finished(
    ARGV[task.at + 1], action, kind, tonumber(ARGV[task.at + 5]), task.started, tail
  )
  local set = P .. 'fin:' .. ns .. ':' .. action
  if not ends[set] then
    ends[set] = {}
    order[#order + 1] = set
  end
  local those = ends[set]
  those[#those + 1] = digits(end_place())
  those[#those + 1] = task.id
  ended[#ended + 1] = task.id
end

-- Counts that no worker had the task's job; answers how long the task waits for one, or nil when
-- it has waited long enough. While some worker has the job, it waits only for another one.
local function wait_for_job(def, s, moment)
  local advertised = tonumber(redis.call('ZSCORE', P .. 'j', def.job) or 0)
  if advertised > now - lease then
    s.misses, s.missing_since = 0, ''
    return moment
  end
  local since = tonumber(s.missing_since) or now
  if now - since >= UNKNOWN_FOR then
    return nil
  end
  s.missing_since = digits(since)
  s.misses = s.misses + 1
  return math.min(2 ^ (s.misses - 1), 60) * 1000
end

for _, task in ipairs(mine) do
  local id, at = task.id, task.at
  local action, attempt, kind = ARGV[at + 2], tonumber(ARGV[at + 5]), ARGV[at + 6]
  local wait, tail, effects = tonumber(ARGV[at + 7]), ARGV[at + 8], effects_of(ARGV[at + 10])
  if effects and is_stale(effects) then
    action, kind = 'conflict', 'conflict'
    tail = explained(effects, 'state that it had read was changed by another task meanwhile')
    if effects.drops then
      -- What was saved goes on from what was read.
      redis.call('DEL', P .. 'ck:' .. id)
    end
  elseif effects and action == 'COMPLETED' then
    local refusal = commit(effects, id)
    if refusal then
      action, kind, tail = 'FAILED', 'effect_limit', explained(effects, refusal)
    elseif effects.drops then
      redis.call('DEL', P .. 'ck:' .. id)
    end
  end
  local ns = string.match(ARGV[at + 3], '^[^:]+')
  local def = (action == 'retry' or action == 'conflict' or action == 'unknown') and definition(id)
  if def then
    local s = state(id)
    local failure
    if action == 'unknown' then
      wait = wait_for_job(def, s, wait)
      failure = not wait and kind
    else
      s.ended = s.ended + 1
      if action == 'conflict' then
        s.conflicts = s.conflicts + 1
        local counts = s.conflicts % CONFLICTS == 0
        s.failures = s.failures + (counts and 1 or 0)
        wait = counts and effects.failure_wait or not counts and effects.wait
      else
        s.failures = s.failures + 1
      end
      local expires = expiry(def, s)
      failure = not wait and kind or expires and now + wait >= expires and 'expired'
      if action == 'retry' or wait then
        remember_attempt(id, attempt, 'FAILED', ARGV[at + 1], kind, task.started, digits(now), tail)
      end
    end
    if failure then
      action, kind = 'FAILED', failure
      conclude(task, ns, action, kind, tail)
    else
      s.due = digits(now + wait)
      s.base, s.by, s.kind = s.due, 'retry ' .. ARGV[at + 1], kind
      redis.call('ZADD', P .. 'due', s.due, member_of(id, def))
      watch_expiry(id, def, s)
    end
    write_state(id, s)
  elseif action == 'COMPLETED' or action == 'FAILED' then
    conclude(task, ns, action, kind, tail)
  end
  verdicts[(at - FIRST) / PER + 1] = letter_of(action, kind)
  count(ns .. ':' .. action)
  if ARGV[at + 9] ~= '' then
    records[#records + 1] = P .. 'log:' .. id .. ':' .. ARGV[at + 5]
    records[#records + 1] = ARGV[at + 9]
  end
end
local children = false
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
  if #records > 0 then
    redis.call('MSET', unpack(records))
  end
  for _, task in ipairs(mine) do
    leave(task.id, ARGV[task.at + 3], ARGV[task.at + 4])
  end
  children = #ended > 0 and announce(ended)
end

-- Claim.
local wanted = tonumber(ARGV[wanted_at])
local claimed, tasks, names, shares = {}, {}, {}, {}
local all_shares = 0
if wanted > 0 or children then
  unblock(100)
end
if wanted > 0 then
  promote(100)
  for at = wanted_at + 1, #ARGV, 2 do
    names[#names + 1] = ARGV[at]
    shares[ARGV[at]] = tonumber(ARGV[at + 1])
    all_shares = all_shares + shares[ARGV[at]]
  end
  if #names == 0 then
    local all = redis.call('HGETALL', P .. 'q')
    for i = 1, #all, 2 do
      names[#names + 1] = all[i]
      known_settings[all[i]] = parse_settings(all[i + 1])
    end
    table.sort(names)
  end
  -- While tasks that expired have not all been ended, none is handed out.
  if expire(ASIDE) == ASIDE then
    soon(now)
    wanted = 0
  end
end

-- How many tasks of a queue may start: at most `limit`.
local function room_in(name, limit)
  local settings = settings_of(name)
  if settings.paused then
    return 0
  end
  if settings.concurrency > 0 then
    limit = math.min(limit, settings.concurrency - redis.call('ZCARD', P .. 'f:' .. name))
  end
  if settings.rate > 0 then
    local free, at = permits(name, settings)
    limit = math.min(limit, free)
    soon(at)
  end
  return limit
end

local bytes, aside = 0, 0
local function claim_from(name, limit)
  local settings = settings_of(name)
  local ready = P .. 'r:' .. name
  local room = room_in(name, limit)
  local before = #claimed
  local popped = 1
  while popped > 0 and room > 0 and bytes < ENOUGH and aside < ASIDE do
    local members = redis.call('ZRANGE', ready, 0, math.min(POP, room) - 1)
    popped = #members
    local ids = {}
    for _, member in ipairs(members) do
      local id = id_of(member)
      local def = #member > 47 and definition(id)
      if not def or enter_key(id, member, redis.call('ZSCORE', ready, member), name, def.key) then
        ids[#ids + 1] = id
      else
        aside = aside + 1
      end
    end
    if popped > 0 then
      redis.call('ZREMRANGEBYRANK', ready, 0, popped - 1)
    end
    if #ids > 0 then
      local size, whole = describe(ids, settings.defaults, tasks)
      for _, id in ipairs(whole) do
        claimed[#claimed + 1] = id
      end
      room = room - #whole
      bytes = bytes + size
    end
  end
  local started = #claimed - before
  wanted = wanted - started
  if started > 0 and settings.rate > 0 then
    spend(name, settings, started)
  end
  if started > 0 and settings.concurrency > 0 then
    local running = {}
    for i = before + 1, #claimed do
      running[#running + 1] = 0
      running[#running + 1] = claimed[i]
    end
    redis.call('ZADD', P .. 'f:' .. name, unpack(running))
  end
end

-- Each queue gets its share of what is wanted first, if shares were given; what is left goes to
-- whoever has more. Another queue comes first each time.
local total = wanted
for round = all_shares > 0 and 1 or 2, 2 do
  for turn = 1, #names do
    local name = names[(number + turn) % #names + 1]
    if wanted > 0 and bytes < ENOUGH then
      local quota = round == 1 and math.max(1, math.floor(total * shares[name] / all_shares)) or wanted
      claim_from(name, math.min(quota, wanted))
    end
  end
end
if #claimed > 0 then
  prolong(claimed)
  local runs, run = {}, token .. ' ' .. now_digits
  for _, id in ipairs(claimed) do
    runs[#runs + 1] = id
    runs[#runs + 1] = run
  end
  redis.call('HSET', P .. 'run', unpack(runs))
end
if wanted == 0 or bytes >= ENOUGH or aside >= ASIDE then
  -- What is left is for another worker, if it may start at all.
  for _, name in ipairs(names) do
    if redis.call('ZCARD', P .. 'r:' .. name) > 0 and room_in(name, 1) > 0 then
      mark(name)
    end
  end
end
count_noted()
if #claimed > 0 or settlements > 0 then
  local kept = ARGV[3] .. ' ' .. digits(now) .. ' ' .. table.concat(verdicts) .. ' ' .. table.concat(claimed, ',')
  redis.call('SET', P .. 'c:' .. instance, kept)
  if not last then
    -- Looked at again when it may have grown old.
    redis.call('ZADD', P .. 'calls', digits(now), instance)
  end
end
return answer('ok', table.concat(verdicts), tasks, wanted > 0 and names or {})
