#!lua flags=no-writes
-- One task, whole.
--
-- KEYS   the partition's prefix
-- ARGV   clock, id
-- Reply  nothing for an unknown id, or: status, definition, state, finished record, claim,
--        progress ('' for each that is not there); status is LOST if the task is in no place,
--        which must never be
-- use: clock record task

local P, id = KEYS[1], ARGV[2]
local records = redis.call('MGET', P .. 'd:' .. id, P .. 's:' .. id, P .. 'x:' .. id)
local d, s, x = records[1], records[2] or '', records[3]
if not d then
  return false
end
local status
if x then
  status = fields_of(x, 2)[2]
elseif redis.call('ZSCORE', P .. 'l', id) then
  status = 'IN_PROGRESS'
else
  local def = definition(id)
  if redis.call('ZSCORE', P .. 'r:' .. def.name, def.seq .. id) then
    status = 'QUEUED'
  elseif redis.call('ZSCORE', P .. 'due', def.seq .. id) then
    status = 'SCHEDULED'
  else
    status = 'LOST'
  end
end
local claim, progress = '', ''
if status == 'IN_PROGRESS' then
  claim = redis.call('HGET', P .. 'run', id) or ''
  progress = redis.call('HGET', P .. 'prog', id) or ''
end
return { status, d, s, x or '', claim, progress }
