-- Where a task is that has not ended: its status there, or nil if it is nowhere.
local function place_of(id, def)
  local member = member_of(id, def)
  if redis.call('ZSCORE', KEYS[1] .. 'l', id) then
    return 'IN_PROGRESS'
  elseif redis.call('ZSCORE', KEYS[1] .. 'r:' .. def.name, member) then
    return 'QUEUED'
  elseif redis.call('ZSCORE', KEYS[1] .. 'due', member) then
    return 'SCHEDULED'
  elseif redis.call('ZSCORE', KEYS[1] .. 'blocked:' .. def.ns, member) then
    return 'BLOCKED'
  elseif def.key ~= '' and redis.call('ZSCORE', KEYS[1] .. 'parked:' .. def.name, member) then
    return 'QUEUED'
  end
  return nil
end
