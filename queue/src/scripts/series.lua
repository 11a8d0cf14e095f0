#!lua flags=no-writes
-- What happened in a namespace lately, span by span.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace, how far back in milliseconds, when the span began to go on with (or '')
-- Reply  when the span begins to go on with (or ''), per span in which something happened: when it began,
--        per pair in order: '<queue> <job>', numbers
-- use: clock record numbers

local P, ns = KEYS[1], ARGV[2]
-- A reply stays near a megabyte.
local ENOUGH = 5000

local since = now - tonumber(ARGV[3])
local start = tonumber(ARGV[4]) or since - since % SPAN
local reply, records = { '' }, 0
while start <= now do
  if records >= ENOUGH then
    reply[1] = digits(start)
    break
  end
  local all = redis.call('HGETALL', P .. 'n:' .. ns .. ':' .. digits(start))
  if #all > 0 then
    local names, numbers = {}, {}
    for i = 1, #all, 2 do
      names[#names + 1] = all[i]
      numbers[all[i]] = all[i + 1]
    end
    table.sort(names)
    local pairs_of = {}
    for i, name in ipairs(names) do
      pairs_of[2 * i - 1], pairs_of[2 * i] = name, numbers[name]
    end
    records = records + #names
    reply[#reply + 1] = digits(start)
    reply[#reply + 1] = pairs_of
  end
  start = start + SPAN
end
return reply
