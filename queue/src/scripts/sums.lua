#!lua flags=no-writes
-- What ever happened in a namespace, and the most memory that attempts had lately.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace
-- Reply  per pair in order: '<queue> <job>', numbers, the most memory that an attempt had that was told of
--        in the span that runs or the two before it, in bytes
-- use: clock record numbers

local P, ns = KEYS[1], ARGV[2]
local all = redis.call('HGETALL', P .. 'sums:' .. ns)
local names, numbers, peaks = {}, {}, {}
for i = 1, #all, 2 do
  names[#names + 1] = all[i]
  numbers[all[i]], peaks[all[i]] = all[i + 1], 0
end
table.sort(names)
for back = 0, 2 do
  local recent = redis.call('HGETALL', P .. 'n:' .. ns .. ':' .. digits(now - now % SPAN - back * SPAN))
  for i = 1, #recent, 2 do
    local peak = tonumber(string.match(recent[i + 1], ' p=(%d+)'))
    if peak and peak > (peaks[recent[i]] or 0) then
      peaks[recent[i]] = peak
    end
  end
end
local reply = {}
for _, name in ipairs(names) do
  reply[#reply + 1] = name
  reply[#reply + 1] = numbers[name]
  reply[#reply + 1] = digits(peaks[name])
end
return reply
