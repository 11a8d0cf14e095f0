-- Whom a task has to do with below it.
--
-- `kin:<task>`  tasks that wait or waited for it, and that its attempts submitted, by when they were
--               accepted: the first, so many. They may be gone.
local KIN = 100

local function add_kin(task, child)
  local key = KEYS[1] .. 'kin:' .. task
  if redis.call('ZCARD', key) < KIN then
    redis.call('ZADD', key, now_digits, child)
  end
end
