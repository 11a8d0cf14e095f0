-- How tasks end, and who is told.
--
-- `p:<parent>`  the tasks that wait for it        `blocked:<ns>`  all that wait for another
-- `ended`       parents that ended and whose      `blk`           task -> for how many it waits
--               children have not all been told   `waiters`       tasks that a client waits for

-- Tells children and clients that tasks have ended; answers whether there are children.
local function announce(ids)
  local keys = {}
  for i, id in ipairs(ids) do
    keys[i] = KEYS[1] .. 'p:' .. id
  end
  local parents = redis.call('EXISTS', unpack(keys)) > 0
  if parents then
    for i, id in ipairs(ids) do
      if redis.call('EXISTS', keys[i]) == 1 then
        redis.call('ZADD', KEYS[1] .. 'ended', digits(now), id)
      end
    end
  end
  if redis.call('EXISTS', KEYS[1] .. 'waiters') == 1 then
    local awaited = {}
    for i, at in ipairs(redis.call('ZMSCORE', KEYS[1] .. 'waiters', unpack(ids))) do
      if at then
        awaited[#awaited + 1] = ids[i]
      end
    end
    if #awaited > 0 then
      redis.call('ZREM', KEYS[1] .. 'waiters', unpack(awaited))
      redis.call('PUBLISH', KEYS[1] .. 'done', table.concat(awaited, ','))
    end
  end
  return parents
end

-- Ends one task that no settlement ends. `token` says by what. Whoever calls it counts what was noted.
local function finish(id, def, status, kind, token, attempt, started, tail)
  redis.call('SET', KEYS[1] .. 'x:' .. id, finished(token, status, kind, attempt, started, tail))
  redis.call('ZADD', KEYS[1] .. 'fin:' .. def.ns .. ':' .. status, digits(end_place()), id)
  redis.call('HINCRBY', KEYS[1] .. 'stats', def.ns .. ':' .. status, 1)
  note_end(def, status, kind)
  announce({ id })
end

-- Takes a waiting task from where it waits; answers its status there, or nil if it waits nowhere.
local function withdraw(id, def)
  local member = member_of(id, def)
  if redis.call('ZREM', KEYS[1] .. 'r:' .. def.name, member) == 1 then
    if def.key ~= '' then
      -- It may have been next of its key, and the others be parked behind it.
      unpark(def.name, def.key)
    end
    return 'QUEUED'
  elseif redis.call('ZREM', KEYS[1] .. 'due', member) == 1 then
    return 'SCHEDULED'
  elseif redis.call('ZREM', KEYS[1] .. 'blocked:' .. def.ns, member) == 1 then
    redis.call('HDEL', KEYS[1] .. 'blk', id)
    return 'BLOCKED'
  elseif def.key ~= '' and redis.call('ZREM', KEYS[1] .. 'parked:' .. def.name, member) == 1 then
    redis.call('ZREM', KEYS[1] .. 'pk:' .. def.name .. ':' .. def.key, member)
    return 'QUEUED'
  end
  return nil
end

-- Ends up to `limit` tasks that should have started by now and have not; answers how many it
-- looked at.
local function expire(limit)
  local ids = redis.call('ZRANGEBYSCORE', KEYS[1] .. 'exp', '-inf', digits(now), 'LIMIT', 0, limit)
  for _, id in ipairs(ids) do
    -- One that runs, has ended or is gone may expire no more; a retry looks again.
    local def = definition(id)
    if def then
      local s = state(id)
      local expires = expiry(def, s)
      if expires and expires <= now and withdraw(id, def) then
        finish(id, def, 'FAILED', 'expired', 'expiry', s.ended, '0', '')
      end
    end
  end
  if #ids > 0 then
    redis.call('ZREM', KEYS[1] .. 'exp', unpack(ids))
  end
  return #ids
end

-- Tells up to `limit` children that a parent has ended: the last parent of a child makes it
-- ready, one that did not complete cancels it, unless it runs always. Answers how many were told.
local function unblock(limit)
  local told = 0
  while told < limit do
    local parent = redis.call('ZRANGE', KEYS[1] .. 'ended', 0, 0)[1]
    if not parent then
      break
    end
    local children = redis.call('ZRANGE', KEYS[1] .. 'p:' .. parent, 0, limit - told - 1)
    local x = redis.call('GETRANGE', KEYS[1] .. 'x:' .. parent, 0, HEADER - 1)
    local status = x ~= '' and fields_of(x, 2)[2] or 'CANCELLED'
    for _, child in ipairs(children) do
      local waits_for = tonumber(redis.call('HGET', KEYS[1] .. 'blk', child) or 0)
      local def = waits_for > 0 and definition(child)
      if def then
        if status ~= 'COMPLETED' and not string.find(def.flags, 'A', 1, true) then
          withdraw(child, def)
          finish(child, def, 'CANCELLED', 'cancelled', 'parent ' .. parent .. ' ' .. status, 0, '0', '')
        elseif waits_for > 1 then
          redis.call('HSET', KEYS[1] .. 'blk', child, digits(waits_for - 1))
        else
          withdraw(child, def)
          place(child, def, state(child))
        end
      end
    end
    if #children > 0 then
      redis.call('ZREM', KEYS[1] .. 'p:' .. parent, unpack(children))
      told = told + #children
    end
    if redis.call('EXISTS', KEYS[1] .. 'p:' .. parent) == 0 then
      redis.call('ZREM', KEYS[1] .. 'ended', parent)
    end
  end
  return told
end
