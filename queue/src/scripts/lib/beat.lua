-- Signs of life. `beat` holds when the last renewal or sweep came and until when nobody is
-- judged: after a silence of all processes, as in an outage of the store, a lease that ended says
-- nothing of its worker. Workers renew three times in a lease.
--
-- Answers whether leases may be ended now.
local function beat(lease)
  local key = KEYS[1] .. 'beat'
  local last, grace = string.match(redis.call('GET', key) or '', '^(%d+) (%d+)$')
  last, grace = tonumber(last) or now, tonumber(grace) or 0
  if now - last > 0.6 * lease then
    grace = now + lease
  elseif grace > now + lease then
    -- The clock stepped back.
    grace = now
  end
  redis.call('SET', key, digits(now) .. ' ' .. digits(grace))
  return now >= grace
end
