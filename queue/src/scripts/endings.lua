#!lua flags=no-writes
-- Tasks that have ended, whatever their final state, in the order of their ends.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace, place and id of the last one known ('' and '': from now on), how many
-- Reply  where to go on if there are none, per task: its place, id, definition's header,
--        state, finished record's beginning
--
-- What has the place that the next end may have is left for later, since more may end there.
-- use: clock record task page ends

local P, ns, at, id, limit = KEYS[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local ENOUGH = 4096

local last, clock = last_end()
local complete = next_end(last, clock)
-- Nobody was given a place that is still to come, unless by another store.
if at == '' or tonumber(at) > complete then
  at, id = last and digits(clock == now and last or last + 1) or '0', ''
end
local found = {}
for _, status in ipairs({ 'COMPLETED', 'FAILED', 'CANCELLED' }) do
  local set = P .. 'fin:' .. ns .. ':' .. status
  -- Before every id is none.
  local flat = page(set, false, at, id == '' and '0' or id, limit)
  for i = 1, #flat, 2 do
    local ended = tonumber(flat[i + 1])
    if ended < complete then
      found[#found + 1] = { ended = ended, id = flat[i] }
    end
  end
end
table.sort(found, function(one, other)
  return one.ended < other.ended or (one.ended == other.ended and one.id < other.id)
end)
local items = {}
for i = 1, math.min(limit, #found) do
  local task = found[i]
  items[#items + 1] = digits(task.ended)
  items[#items + 1] = task.id
  items[#items + 1] = redis.call('GETRANGE', P .. 'd:' .. task.id, 0, HEADER - 1)
  items[#items + 1] = redis.call('GET', P .. 's:' .. task.id) or ''
  items[#items + 1] = redis.call('GETRANGE', P .. 'x:' .. task.id, 0, ENOUGH - 1)
end
return { id == '' and at or at .. '_' .. id, items }
