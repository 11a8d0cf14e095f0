-- Frees the parked tasks of a queue of whose keys more may run than before, slice by slice.
--
-- `loose`  queue -> how far its parked tasks have been looked at: score and member of the last one

-- Looks at the next parked tasks of a queue, and frees of each key that it meets as many as may run,
-- or as many as it looks at. So in the end each that may run is free; what is free beyond that is
-- parked again when it is popped.
local function loosen(name)
  local SLICE = 100
  local at, member = string.match(redis.call('HGET', KEYS[1] .. 'loose', name), '^(%S*) (%S*)$')
  local found, ended = candidates('parked:' .. name, false, at, member, SLICE)
  local met, freed = {}, 0
  for _, task in ipairs(found) do
    if freed >= SLICE then
      ended = false
      break
    end
    local def = definition(task.id)
    if def and not met[def.key] then
      met[def.key] = true
      freed = freed + unpark(name, def.key)
    end
    at, member = task.score, task.member
  end
  if ended then
    redis.call('HDEL', KEYS[1] .. 'loose', name)
  else
    redis.call('HSET', KEYS[1] .. 'loose', name, at .. ' ' .. member)
  end
end
