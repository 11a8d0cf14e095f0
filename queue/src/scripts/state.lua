#!lua flags=no-writes
-- State of a job, by key.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace:job, keys
-- Reply  per key: its version (0: it is not there), its value or ''
-- use: clock record

local reply = {}
for at = 3, #ARGV do
  local record = redis.call('HGET', KEYS[1] .. 'state:' .. ARGV[2], ARGV[at])
  if record then
    local f, tail = fields_of(record, 1)
    reply[#reply + 1] = f[1]
    reply[#reply + 1] = string.sub(record, tail)
  else
    reply[#reply + 1] = '0'
    reply[#reply + 1] = ''
  end
end
return reply
