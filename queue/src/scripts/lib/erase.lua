-- Removes a task with everything it owns; only its idempotency key lives on to the end of its
-- window, and says then when the task was accepted and in which status it ended (`i:`: the task,
-- the print of what was submitted; these two). It must be in no set any more.
local IDEMPOTENCY_WINDOW = 24 * 3600 * 1000

local function erase(id, def, status, attempts)
  local keys = {}
  for i, kind in ipairs({ 'd:', 's:', 'x:', 'h:', 'p:', 'ck:', 'kin:' }) do
    keys[i] = KEYS[1] .. kind .. id
  end
  keys[#keys + 1] = KEYS[1] .. 'log:' .. id .. ':1'
  for attempt = math.max(2, attempts - REMEMBERED), attempts do
    keys[#keys + 1] = KEYS[1] .. 'log:' .. id .. ':' .. digits(attempt)
  end
  redis.call('DEL', unpack(keys))
  redis.call('ZREM', KEYS[1] .. 'waiters', id)
  redis.call('ZREM', KEYS[1] .. 'exp', id)
  redis.call('HDEL', KEYS[1] .. 'tree', id)
  if def.idempotency ~= '' then
    local key = def.ns .. ':' .. def.idempotency
    local ends = def.created + IDEMPOTENCY_WINDOW
    if ends <= now then
      redis.call('DEL', KEYS[1] .. 'i:' .. key)
    else
      local holder = redis.call('GET', KEYS[1] .. 'i:' .. key)
      redis.call('SET', KEYS[1] .. 'i:' .. key, holder .. ' ' .. digits(def.created) .. ' ' .. status)
      redis.call('ZADD', KEYS[1] .. 'iexp', digits(ends), key)
    end
  end
  redis.call('HINCRBY', KEYS[1] .. 'stats', def.ns .. ':removed', 1)
end
