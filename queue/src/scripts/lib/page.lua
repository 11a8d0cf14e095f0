-- Walking through sorted sets in slices, however they change in the meantime.

local function ranged(set, down, from, to, offset, limit)
  local command = down and 'ZREVRANGEBYSCORE' or 'ZRANGEBYSCORE'
  return redis.call(command, set, from, to, 'WITHSCORES', 'LIMIT', offset, limit)
end

-- Up to `limit` members and their scores, in order (`down`: from the last), behind a member with
-- a score, or from the start if `member` is ''.
local function page(set, down, at, member, limit)
  local first, last = '-inf', '+inf'
  if down then
    first, last = last, first
  end
  if member == '' then
    return ranged(set, down, first, last, 0, limit)
  end
  -- Many members may have the one score: how many of them are behind us is found by halving.
  local function is_passed(offset)
    local found = ranged(set, down, at, at, offset, 1)[1]
    if not found then
      return false
    elseif down then
      return found >= member
    end
    return found <= member
  end
  local low, high = -1, 0
  while is_passed(high) do
    low, high = high, high * 2 + 1
  end
  while high - low > 1 do
    local middle = math.floor((low + high) / 2)
    if is_passed(middle) then
      low = middle
    else
      high = middle
    end
  end
  return ranged(set, down, at, last, high, limit)
end

-- Up to `limit` tasks of a set behind a place in it, as (score, member), and whether that was
-- all. The set `run` is walked by id: what runs is as many as there are slots.
local function candidates(set, down, at, member, limit)
  local found, ended = {}, false
  if set == 'run' then
    local ids = redis.call('HKEYS', KEYS[1] .. 'run')
    table.sort(ids)
    for _, id in ipairs(ids) do
      if id > member and #found < limit then
        found[#found + 1] = { score = '0', member = id, id = id }
      end
    end
  else
    local flat = page(KEYS[1] .. set, down, at, member, limit)
    for i = 1, #flat, 2 do
      local name = flat[i]
      local score = string.format('%.17g', tonumber(flat[i + 1]))
      found[#found + 1] = { score = score, member = name, id = #name == 36 and name or id_of(name) }
    end
  end
  return found, #found < limit
end

-- Does a task have what is asked for? '' asks for nothing.
local function matches(def, filter)
  return def.ns == filter.ns
    and (filter.queue == '' or def.queue == filter.queue)
    and (filter.job == '' or def.job == filter.job)
    and (filter.tag == '' or string.find(',' .. def.tags .. ',', ',' .. filter.tag .. ',', 1, true) ~= nil)
    and (filter.since == '' or def.created >= tonumber(filter.since))
    and (filter.before == '' or def.created < tonumber(filter.before))
end

-- The sets that hold the tasks of a status, in the order in which they are walked.
local function sets_of(status, ns, queue)
  if status == 'SCHEDULED' then
    return { 'due' }
  elseif status == 'BLOCKED' then
    return { 'blocked:' .. ns }
  elseif status == 'IN_PROGRESS' then
    return { 'run' }
  elseif status ~= 'QUEUED' then
    return { 'fin:' .. ns .. ':' .. status }
  end
  local names = queue ~= '' and { ns .. ':' .. queue } or redis.call('HKEYS', KEYS[1] .. 'q')
  table.sort(names)
  local sets = {}
  for _, name in ipairs(names) do
    if string.sub(name, 1, #ns + 1) == ns .. ':' then
      sets[#sets + 1] = 'r:' .. name
      sets[#sets + 1] = 'parked:' .. name
    end
  end
  return sets
end
