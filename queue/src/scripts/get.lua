#!lua flags=no-writes
-- One task, whole.
--
-- KEYS   the partition's prefix
-- ARGV   clock, id
-- Reply  nothing for an unknown id, or: status, definition, state, finished record, claim,
--        progress ('' for each that is not there), what came before (field, record); status is
--        LOST if the task is in no place, which must never be
-- use: clock record task place

local P, id = KEYS[1], ARGV[2]
local records = redis.call('MGET', P .. 'd:' .. id, P .. 's:' .. id, P .. 'x:' .. id)
local d, s, x = records[1], records[2] or '', records[3]
if not d then
  return false
end
local status = x and fields_of(x, 2)[2] or place_of(id, parse_definition(d)) or 'LOST'
local claim, progress = '', ''
if status == 'IN_PROGRESS' then
  claim = redis.call('HGET', P .. 'run', id) or ''
  progress = redis.call('HGET', P .. 'prog', id) or ''
end
local history = {}
if s ~= '' or x then
  local fields = redis.call('HKEYS', P .. 'h:' .. id)
  table.sort(fields)
  for _, field in ipairs(fields) do
    history[#history + 1] = field
    history[#history + 1] = redis.call('HGET', P .. 'h:' .. id, field)
  end
end
return { status, d, s, x or '', claim, progress, history }
