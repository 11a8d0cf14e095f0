#!lua flags=no-writes
-- What operators did, newest first.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace or '' for all, the number before which it begins or '' for the newest, how
--        many at most
-- Reply  the number before which it goes on (or ''); per action: number, record (see lib/action.lua)
--
-- It looks at 1,000 at most.
-- use: clock record action

local ns, limit = ARGV[2], tonumber(ARGV[4])
local LOOKS = 1000
local last = last_action()
local first = math.max(1, last - KEPT + 1)
local number = math.min(last, (tonumber(ARGV[3]) or last + 1) - 1)
local stop = math.max(first, number - LOOKS + 1)
local found = {}
while number >= stop and #found < 2 * limit do
  local act, record = action_of(number)
  if act and (ns == '' or act.ns == ns) then
    found[#found + 1] = digits(number)
    found[#found + 1] = record
  end
  number = number - 1
end
return { number >= first and digits(number + 1) or '', found }
