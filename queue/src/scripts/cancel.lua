#!lua flags=allow-oom
-- Cancels tasks that have not ended: those that wait at once; of those that run the lease is
-- taken away and their workers are told.
--
-- KEYS   the partition's prefix
-- ARGV   clock, the request's own id, task ids
-- Reply  per task: ok, wrong (it has ended) or unknown; the status that it has
--
-- Invariant: the attempt of a cancelled task commits nothing.
-- use: clock record task ready limits ends numbers finish place steer request

local reply = once(ARGV[2], function()
  local reply = {}
  for at = 3, #ARGV do
    local word, status = cancel(ARGV[at], ARGV[2])
    reply[#reply + 1] = word or 'unknown'
    reply[#reply + 1] = status or ''
  end
  return reply
end)
count_noted()
return reply
