#!lua flags=no-writes
-- Tasks without their payloads and results, and whom they have to do with.
--
-- KEYS   the partition's prefix
-- ARGV   clock, how many below each are wanted, ids
-- Reply  per task: id, status ('' for an unknown one), definition's beginning with all but the payload,
--        state, finished record's beginning, claim, the ids of those below it
-- use: clock record task place

local P, wanted = KEYS[1], tonumber(ARGV[2])
local ENOUGH = 4096
-- A header, and the ids of a hundred parents.
local HEAD = 8192
local reply = {}
for at = 3, #ARGV do
  local id = ARGV[at]
  local head = redis.call('GETRANGE', P .. 'd:' .. id, 0, HEAD - 1)
  local x = redis.call('GETRANGE', P .. 'x:' .. id, 0, ENOUGH - 1)
  local status = ''
  if x ~= '' then
    status = fields_of(x, 2)[2]
  elseif head ~= '' then
    status = place_of(id, parse_definition(head)) or 'LOST'
  end
  reply[#reply + 1] = id
  reply[#reply + 1] = status
  reply[#reply + 1] = head
  reply[#reply + 1] = redis.call('GET', P .. 's:' .. id) or ''
  reply[#reply + 1] = x
  reply[#reply + 1] = status == 'IN_PROGRESS' and redis.call('HGET', P .. 'run', id) or ''
  reply[#reply + 1] = wanted > 0 and redis.call('ZRANGE', P .. 'kin:' .. id, 0, wanted - 1) or {}
end
return reply
