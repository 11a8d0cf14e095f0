-- Schedules. `sched` holds each (<ns>:<name>), `ticks` when its next tick is, unless it is paused.
--
-- generation   changes with every put that changes something
-- cron, zone   opaque: another one means other ticks
-- at, task     the last tick that had a task, and that
-- tail         what to submit (opaque)
local function parse_schedule(record)
  local f, tail = fields_of(record, 6)
  return {
    generation = f[1], paused = f[2] == '1', cron = f[3], zone = f[4], at = f[5], task = f[6],
    tail = string.sub(record, tail),
  }
end

local function schedule_of(name)
  local record = redis.call('HGET', KEYS[1] .. 'sched', name)
  return record and parse_schedule(record) or nil
end

local function write_schedule(name, s)
  redis.call('HSET', KEYS[1] .. 'sched', name,
    VERSION .. pack({ s.generation, s.paused and '1' or '0', s.cron, s.zone, s.at, s.task }) .. s.tail)
end

-- When the next tick is, as a number, or nil.
local function tick_of(name)
  return tonumber(redis.call('ZSCORE', KEYS[1] .. 'ticks', name) or nil)
end

-- Moves a schedule to a tick; '' for none.
local function set_tick(name, tick)
  if tick == '' then
    redis.call('ZREM', KEYS[1] .. 'ticks', name)
  else
    redis.call('ZADD', KEYS[1] .. 'ticks', tick, name)
  end
end
