-- API keys.
--
-- `keys`      id -> the key's record     `revoked`  ids of those that are revoked, in that order
-- `keysver`   the version of all this    `buckets`  id -> how full its bucket of requests is
--
-- created   when it was made
-- revoked   when it was revoked, or ''
-- tail      what it may do (opaque)
local function key_of(id)
  local record = redis.call('HGET', KEYS[1] .. 'keys', id)
  if not record then
    return nil
  end
  local f, tail = fields_of(record, 2)
  return { created = f[1], revoked = f[2], tail = string.sub(record, tail) }
end

local function write_key(id, key)
  redis.call('HSET', KEYS[1] .. 'keys', id, VERSION .. pack({ key.created, key.revoked }) .. key.tail)
end

-- Gives the keys another version, and says so. It is the time, or one more than the last: a store
-- that lost its last changes gives none of their versions again.
local function keys_changed()
  local version = math.max(now, tonumber(redis.call('GET', KEYS[1] .. 'keysver') or 0) + 1)
  redis.call('SET', KEYS[1] .. 'keysver', digits(version))
  redis.call('PUBLISH', KEYS[1] .. 'keys-changed', digits(version))
  return version
end
