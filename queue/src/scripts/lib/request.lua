-- What requests of operators were answered. Each has an id of its own: one that is sent again, or
-- of which a copy comes late, gets the first answer and changes nothing, whatever has happened to
-- its tasks since.
--
-- `answers`  request -> its answer, for ten minutes          `asked`  requests by time
local function once(request, make)
  local answer = redis.call('HGET', KEYS[1] .. 'answers', request)
  if not answer then
    local reply = make()
    redis.call('HSET', KEYS[1] .. 'answers', request, table.concat(reply, ',') .. ',')
    redis.call('ZADD', KEYS[1] .. 'asked', digits(now), request)
    return reply
  end
  local reply = {}
  for word in string.gmatch(answer, '([^,]*),') do
    reply[#reply + 1] = word
  end
  return reply
end
