-- What operators do to one task.

-- Which status a finished task has, and by which call it ended; nothing if it has not.
local function ending(id)
  local x = redis.call('GETRANGE', KEYS[1] .. 'x:' .. id, 0, HEADER - 1)
  if x == '' then
    return nil
  end
  local f = fields_of(x, 4)
  return f[2], f[1], tonumber(f[4])
end

-- Cancels a task that has not ended. Answers 'ok' or, if it has, 'wrong', and the status that it
-- has now; nothing for an unknown task. `request` is made once for each request.
local function cancel(id, request)
  local def = definition(id)
  if not def then
    return nil
  end
  local status = ending(id)
  if status then
    return 'wrong', status
  end
  local s = state(id)
  local run = redis.call('HGET', KEYS[1] .. 'run', id)
  local attempt, token, started = s.ended, '', '0'
  if run then
    token, started = claim_of(run)
    attempt = s.ended + 1
    redis.call('ZREM', KEYS[1] .. 'l', id)
    redis.call('HDEL', KEYS[1] .. 'run', id)
    redis.call('HDEL', KEYS[1] .. 'prog', id)
  else
    withdraw(id, def)
  end
  finish(id, def, 'CANCELLED', 'cancelled', 'cancel ' .. request .. ' ' .. token, attempt, started, '')
  if run then
    leave(id, def.name, def.key)
    redis.call('PUBLISH', KEYS[1] .. 'to:' .. instance_of(token), 'cancel ' .. id .. ' ' .. token)
  end
  return 'ok', 'CANCELLED'
end

-- Gives a task that FAILED or was CANCELLED another life, with fresh budgets. Answers as `cancel`.
local function redrive(id, request)
  local def = definition(id)
  if not def then
    return nil
  end
  local s = state(id)
  local status, token, attempt = ending(id)
  if not status then
    return 'wrong', place_of(id, def) or 'LOST'
  elseif status == 'COMPLETED' then
    return 'wrong', status
  end
  local x = redis.call('GET', KEYS[1] .. 'x:' .. id)
  local f, tail = fields_of(x, 6)
  if redis.call('HEXISTS', KEYS[1] .. 'h:' .. id, f[4]) == 1 then
    -- What ended its last attempt is there already.
    remember(id, 'end ' .. f[6] .. ' ' .. request, status, token, f[3], '0', f[6], '')
  elseif tonumber(f[5]) > 0 then
    remember_attempt(id, attempt, status, token, f[3], f[5], f[6], string.sub(x, tail))
  else
    remember(id, 'end ' .. f[6] .. ' ' .. request, status, token, f[3], f[5], f[6], string.sub(x, tail))
  end
  remember(id, 'redrive ' .. digits(now) .. ' ' .. request, 'REDRIVEN', request, '', digits(now), digits(now), '')
  trim_history(id)
  redis.call('DEL', KEYS[1] .. 'x:' .. id)
  redis.call('ZREM', KEYS[1] .. 'fin:' .. def.ns .. ':' .. status, id)
  redis.call('ZREM', KEYS[1] .. 'ended', id)
  redis.call('HINCRBY', KEYS[1] .. 'stats', def.ns .. ':redriven', 1)
  s.ended, s.failures, s.lost, s.spared, s.misses, s.missing_since, s.conflicts = attempt, 0, 0, 0, 0, '', 0
  s.due, s.base, s.by, s.kind, s.expires = '', digits(now), 'redrive ' .. request, f[3], '0'
  write_state(id, s)
  make_ready(id, def, s)
  return 'ok', 'QUEUED'
end
