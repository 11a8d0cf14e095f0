#!lua flags=no-writes
-- Tasks without their payloads, results and histories.
--
-- KEYS   the partition's prefix
-- ARGV   clock, ids
-- Reply  per task: id, status ('' for an unknown one), definition's header, state, finished
--        record's beginning, claim, progress
-- use: clock record task place

local P = KEYS[1]
local ENOUGH = 4096
local reply = {}
for at = 2, #ARGV do
  local id = ARGV[at]
  local header = redis.call('GETRANGE', P .. 'd:' .. id, 0, HEADER - 1)
  local x = redis.call('GETRANGE', P .. 'x:' .. id, 0, ENOUGH - 1)
  local status = ''
  if x ~= '' then
    status = fields_of(x, 2)[2]
  elseif header ~= '' then
    status = place_of(id, parse_definition(header)) or 'LOST'
  end
  local runs = status == 'IN_PROGRESS'
  reply[#reply + 1] = id
  reply[#reply + 1] = status
  reply[#reply + 1] = header
  reply[#reply + 1] = redis.call('GET', P .. 's:' .. id) or ''
  reply[#reply + 1] = x
  reply[#reply + 1] = runs and redis.call('HGET', P .. 'run', id) or ''
  reply[#reply + 1] = runs and redis.call('HGET', P .. 'prog', id) or ''
end
return reply
