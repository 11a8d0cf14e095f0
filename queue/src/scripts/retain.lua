#!lua flags=allow-oom
-- Removes finished tasks that are older, or more, than is kept; the next slice.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace, per status: status, how long in milliseconds, how many
-- Reply  how many were removed, 1 if there are more
--
-- Invariant: a task goes with everything it owns, or stays; one whose children wait stays, and so
-- does one that ended just now: its submit may still be sent again.
-- use: clock record task erase

local P, ns = KEYS[1], ARGV[2]
local SLICE = 200
local FLOOR = 120 * 1000
local removed, more = 0, 0
for at = 3, #ARGV, 3 do
  local set = P .. 'fin:' .. ns .. ':' .. ARGV[at]
  local left = SLICE - removed
  local too_many = math.min(redis.call('ZCARD', set) - tonumber(ARGV[at + 2]), left)
  local ids = left > 0
    and redis.call('ZRANGEBYSCORE', set, '-inf', digits(now - tonumber(ARGV[at + 1])), 'LIMIT', 0, left) or {}
  if too_many > #ids then
    ids = redis.call('ZRANGEBYSCORE', set, '-inf', digits(now - FLOOR), 'LIMIT', 0, too_many)
  end
  if #ids == left then
    more = 1
  end
  for _, id in ipairs(ids) do
    if redis.call('EXISTS', P .. 'p:' .. id) == 0 then
      local def = definition(id)
      local x = redis.call('GETRANGE', P .. 'x:' .. id, 0, HEADER - 1)
      redis.call('ZREM', set, id)
      -- One without a definition must not keep the others from going.
      if def and x ~= '' then
        erase(id, def, ARGV[at], tonumber(fields_of(x, 4)[4]))
        removed = removed + 1
      end
    end
  end
end
return { removed, more }
