#!lua flags=allow-oom
-- Tells what an operator's action was answered; the first time counts.
--
-- KEYS   the partition's prefix
-- ARGV   clock, its number, status
-- Reply  1
-- use: clock record action

local number = tonumber(ARGV[2])
local act = action_of(number)
if act and act.status == '' then
  act.status = ARGV[3]
  write_action(number, act)
end
return 1
