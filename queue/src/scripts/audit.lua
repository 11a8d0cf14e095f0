#!lua flags=no-writes
-- Looks whether tasks are each in exactly one place, with the records that belong to it.
--
-- KEYS   the partition's prefix
-- ARGV   clock, task ids
-- Reply  per task that is not: id, what is wrong
-- use: clock record task

local P = KEYS[1]
local reply = {}
for at = 2, #ARGV do
  local id = ARGV[at]
  local def = definition(id)
  local places = {}
  local function found(set, member, word)
    if redis.call('ZSCORE', P .. set, member) then
      places[#places + 1] = word
    end
  end
  local wrong
  if def then
    local member = member_of(id, def)
    local x = redis.call('GETRANGE', P .. 'x:' .. id, 0, HEADER - 1)
    found('r:' .. def.name, member, 'ready')
    found('due', member, 'due')
    found('blocked:' .. def.ns, member, 'blocked')
    found('parked:' .. def.name, member, 'parked')
    found('l', id, 'leased')
    for _, status in ipairs({ 'COMPLETED', 'FAILED', 'CANCELLED' }) do
      found('fin:' .. def.ns .. ':' .. status, id, status)
    end
    local place = places[1]
    if #places ~= 1 then
      wrong = #places == 0 and 'it is in no place' or 'it is in ' .. table.concat(places, ' and ')
    elseif (x ~= '') ~= (place == string.upper(place)) then
      wrong = x ~= '' and 'it has ended and is ' .. place or 'it is ' .. place .. ' without a record of its end'
    elseif x ~= '' and fields_of(x, 2)[2] ~= place then
      wrong = 'it is among the ' .. place .. ' and its record says ' .. fields_of(x, 2)[2]
    elseif (place == 'leased') ~= (redis.call('HEXISTS', P .. 'run', id) == 1) then
      wrong = place == 'leased' and 'its lease has no holder' or 'it is ' .. place .. ' and has a holder'
    elseif (place == 'blocked') ~= (redis.call('HEXISTS', P .. 'blk', id) == 1) then
      wrong = 'it is ' .. place .. ', and how many parents it waits for does not fit'
    elseif def.key ~= '' then
      local waits = redis.call('ZSCORE', P .. 'pk:' .. def.name .. ':' .. def.key, member)
      local runs = redis.call('ZSCORE', P .. 'k:' .. def.name .. ':' .. def.key, id)
      if (waits ~= false) ~= (place == 'parked') or (runs ~= false) ~= (place == 'leased') then
        wrong = 'it is ' .. place .. ', and its concurrency key says otherwise'
      end
    end
  end
  if wrong then
    reply[#reply + 1] = id
    reply[#reply + 1] = wrong
  end
end
return reply
