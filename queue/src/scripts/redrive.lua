#!lua flags=
-- Gives tasks that FAILED or were CANCELLED another life.
--
-- KEYS   the partition's prefix
-- ARGV   clock, the request's own id, task ids
-- Reply  per task: ok, wrong (it is not FAILED or CANCELLED) or unknown; the status that it has
--
-- Invariant: in the same step the task leaves its final state and is ready, and its history
-- tells of both.
-- use: clock record task ready limits ends numbers finish place steer request

return once(ARGV[2], function()
  local reply = {}
  for at = 3, #ARGV do
    local word, status = redrive(ARGV[at], ARGV[2])
    reply[#reply + 1] = word or 'unknown'
    reply[#reply + 1] = status or ''
  end
  return reply
end)
