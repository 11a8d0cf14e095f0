-- What operators did.
--
-- `acts`  number -> record    `actids`  the id of an action, from its caller -> number
-- `actseq`  the last number
--
-- at          when it was begun
-- id          from its caller
-- namespace   in which it was done, or ''
-- status      what it was answered, or '' until then
-- tail        the rest (opaque)
local KEPT = 10000

local function last_action()
  return tonumber(redis.call('GET', KEYS[1] .. 'actseq') or 0)
end

local function action_of(number)
  local record = redis.call('HGET', KEYS[1] .. 'acts', digits(number))
  if not record then
    return nil
  end
  local f, tail = fields_of(record, 4)
  return { at = f[1], id = f[2], ns = f[3], status = f[4], tail = string.sub(record, tail) }, record
end

local function write_action(number, act)
  redis.call('HSET', KEYS[1] .. 'acts', digits(number),
    VERSION .. pack({ act.at, act.id, act.ns, act.status }) .. act.tail)
end
