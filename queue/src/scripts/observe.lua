#!lua flags=allow-oom
-- Adds up what a process saw happen.
--
-- KEYS   the partition's prefix
-- ARGV   clock, who tells, the number of this call, per pair: namespace, '<queue> <job>', numbers as
--        lib/numbers.lua says; the pairs of a namespace one after another
-- Reply  1
--
-- Invariant: what is told under a number is added once. `told` holds the last number of each that tells
-- (`tellers`, by when they told last).
-- use: clock record numbers

local P, teller, number = KEYS[1], ARGV[2], tonumber(ARGV[3])
if number <= tonumber(redis.call('HGET', P .. 'told', teller) or 0) then
  return 1
end
local at = 4
while at <= #ARGV do
  local ns, whose, numbers = ARGV[at], {}, {}
  while ARGV[at] == ns do
    whose[#whose + 1] = ARGV[at + 1]
    numbers[#numbers + 1] = ARGV[at + 2]
    at = at + 3
  end
  add_numbers(ns, whose, numbers)
end
redis.call('HSET', P .. 'told', teller, ARGV[3])
redis.call('ZADD', P .. 'tellers', now_digits, teller)
return 1
