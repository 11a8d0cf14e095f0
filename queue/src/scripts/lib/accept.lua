-- How new tasks are accepted: all of them or none.

local STEP = 7
local SEQ_LIMIT = 17592186044416 -- 2^44: eleven hexadecimal digits

-- What a task asks for beyond the plain: '' or packed, when it expires, its concurrency key, its
-- idempotency key and the print of what was submitted with it, how many parents; then the parents.
local function parse_options(options)
  if options == '' then
    return nil
  end
  local f, tail = fields_of(options, 5)
  -- One that is named twice ends once.
  local parents, named = {}, {}
  for id in string.gmatch(string.sub(options, tail), '[^,]+') do
    if not named[id] then
      named[id] = true
      parents[#parents + 1] = id
    end
  end
  return { expires = f[1], key = f[2], idempotency = f[3], print = f[4], parents = parents }
end

-- What a task that was accepted before is answered: itself, when that was, and '', or the status
-- in which it was removed; of one that was purged (`purged`) it is known when that was.
local function known_task(id)
  local record = redis.call('GETRANGE', KEYS[1] .. 'd:' .. id, 0, HEADER - 1)
  if record ~= '' then
    return { id, fields_of(record, 3)[3], '' }
  end
  local purged = redis.call('ZSCORE', KEYS[1] .. 'purged', id)
  return purged and { id, digits(tonumber(purged)), 'CANCELLED' }
end

-- The task that an idempotency key stands for, as above, and the print of what was submitted with
-- it; nothing if the key is free.
local function holder_of(key)
  local record = redis.call('GET', KEYS[1] .. 'i:' .. key)
  if not record then
    return nil
  end
  local id, print, created, status = string.match(record, '^(%S+) (%S+) ?(%S*) ?(%S*)$')
  if status == '' then
    return known_task(id), print
  end
  -- The end of the window of a task that was removed need not have been seen by a sweep.
  local open = now < tonumber(redis.call('ZSCORE', KEYS[1] .. 'iexp', key) or 0)
  if open then
    return { id, created, status }, print
  end
  return nil
end

-- Accepts the tasks in a list of arguments from `first` on, each: id, namespace:queue, priority, when it is due
-- ('', milliseconds, or + and the milliseconds from now), header (the packed fields of the
-- definition from the namespace on), body (the submitted task, opaque), options.
--
-- Answers { 'ok', per task: the id of the task that stands for it (another one if that has its
-- idempotency key), when that was accepted, the status in which it was removed or '' }, or, nothing
-- having been written, { 'conflict', which task }, { 'no_parent', which task, parent } or
-- { 'moved', which task, parent, the task that has the parent's idempotency key }. `told`, if there is
-- one, is called with the header of each that is new.
local function accept(args, first, told)
  local P = KEYS[1]
  local arrival = redis.call('HMGET', P .. 'seq', 'last', 'ms')
  local seq = tonumber(arrival[1] or 0)
  -- A clock that steps back must not let a later task overtake an earlier one.
  local base = math.max(now, tonumber(arrival[2] or 0))

  local keys = { P .. 'purged' }
  for at = first, #args, STEP do
    keys[#keys + 1] = P .. 'd:' .. args[at]
  end
  local some_known = redis.call('EXISTS', unpack(keys)) > 0
  local reply, fresh = { 'ok' }, {}
  -- Ids of this call -> how they were answered; idempotency keys of this call -> by which task, with
  -- what, they were taken.
  local answered, taken = {}, {}
  for at = first, #args, STEP do
    local id, index = args[at], (at - first) / STEP
    local ns = string.match(args[at + 1], '^[^:]+')
    local options = parse_options(args[at + 6])
    local answer = answered[id] or (some_known and known_task(id))
    if not answer and options and options.idempotency ~= '' then
      local key = ns .. ':' .. options.idempotency
      local print
      if taken[key] then
        answer, print = answered[taken[key].id], taken[key].print
      else
        answer, print = holder_of(key)
      end
      if not answer then
        taken[key] = { id = id, print = options.print }
      elseif print ~= options.print then
        return { 'conflict', index }
      end
    end
    if not answer then
      for _, parent in ipairs(options and options.parents or {}) do
        local stand_in = answered[parent] and answered[parent][1]
        if stand_in and stand_in ~= parent then
          return { 'moved', index, parent, stand_in }
        end
        local known = not stand_in and definition(parent)
        if not stand_in and (not known or known.ns ~= ns) then
          return { 'no_parent', index, parent }
        end
      end
      fresh[#fresh + 1] = { at = at, ns = ns, options = options }
      answer = { id, digits(base), '' }
    end
    answered[id] = answer
    for _, part in ipairs(answer) do
      reply[#reply + 1] = part
    end
  end
  if #fresh == 0 then
    return reply
  end
  if seq + #fresh >= SEQ_LIMIT then
    return redis.error_reply('ERR the arrival sequence is used up')
  end

  local records, ready, names, submitted = {}, {}, {}, {}
  local dependent = false
  for i, task in ipairs(fresh) do
    local at, options = task.at, task.options
    local id, name, priority, when = args[at], args[at + 1], args[at + 2], args[at + 3]
    if not ready[name] then
      ready[name] = {}
      names[#names + 1] = name
    end
    local arrived = string.format('%011x', seq + i)
    local member = arrived .. id .. (options and options.key ~= '' and 'k' or '')
    records[#records + 1] = P .. 'd:' .. id
    records[#records + 1] =
      VERSION .. pack({ arrived, priority, digits(base) }) .. args[at + 4] .. args[at + 5]

    local delay = string.match(when, '^%+(%d+)$')
    local due = delay and now + tonumber(delay) or tonumber(when)
    local waits = due and due > now
    if waits then
      local s = state(id)
      s.due, s.base = digits(due), digits(math.max(due, base))
      write_state(id, s)
    end
    if options and #options.parents > 0 then
      dependent = true
      redis.call('ZADD', P .. 'blocked:' .. task.ns, digits(base), member)
      redis.call('HSET', P .. 'blk', id, digits(#options.parents))
      for _, parent in ipairs(options.parents) do
        redis.call('ZADD', P .. 'p:' .. parent, 0, id)
        add_kin(parent, id)
        if redis.call('EXISTS', P .. 'x:' .. parent) == 1 then
          redis.call('ZADD', P .. 'ended', digits(now), parent)
        end
      end
    elseif waits then
      redis.call('ZADD', P .. 'due', digits(due), member)
      if redis.call('ZRANGE', P .. 'due', 0, 0)[1] == member then
        -- Idle workers wait until what was due first when they asked: now this one is.
        mark(name)
      end
    else
      local queue = ready[name]
      queue[#queue + 1] = score(tonumber(priority), settings_of(name).weight, base)
      queue[#queue + 1] = member
    end
    if options and options.expires ~= '' then
      redis.call('ZADD', P .. 'exp', options.expires, id)
    end
    if options and options.idempotency ~= '' then
      local key = task.ns .. ':' .. options.idempotency
      records[#records + 1] = P .. 'i:' .. key
      records[#records + 1] = id .. ' ' .. options.print
      redis.call('ZREM', P .. 'iexp', key)
    end
    submitted[task.ns] = (submitted[task.ns] or 0) + 1
    if told then
      told(args[at + 4])
    end
  end

  redis.call('HSET', P .. 'seq', 'last', digits(seq + #fresh), 'ms', digits(base))
  redis.call('MSET', unpack(records))
  for _, name in ipairs(names) do
    if #ready[name] > 0 then
      redis.call('ZADD', P .. 'r:' .. name, unpack(ready[name]))
      mark(name)
    end
    if redis.call('HSETNX', P .. 'q', name, queue_settings(parse_settings(nil))) == 1 then
      -- No worker waits on a queue that it does not know yet.
      redis.call('ZADD', P .. 'wake', 0, '1')
    end
    local ns = string.match(name, '^[^:]+')
    if submitted[ns] then
      redis.call('HINCRBY', P .. 'stats', ns .. ':submitted', submitted[ns])
      submitted[ns] = nil
    end
  end
  if dependent then
    unblock(100)
  end
  return reply
end
