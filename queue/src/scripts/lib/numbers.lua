-- What happened, in numbers, by queue and job.
--
-- `n:<ns>:<start>`  what happened in the span that began then: '<queue> <job>' -> numbers
-- `spans`           those, without their `n:`, by when they began
-- `sums:<ns>`       what ever happened: '<queue> <job>' -> numbers
-- `summed`          '<ns>:<queue> <job>', by when something happened last
--
-- Numbers are a version and words `name=number`, in any order; what is not named is 0:
--
-- s, c, x         accepted, COMPLETED, CANCELLED   u  CPU time in microseconds
-- f:KIND, r:KIND  FAILED, tried again, by why      p  the most memory, in bytes
-- w, a, e         how long tasks waited, attempts took, and all took to the end, each as w1000=2 (two
--                 took at most 1000 microseconds and more than the next smaller bound allows), w+=1
--                 (one took longer than all bounds) and ws=2000 (their sum in microseconds)
local SPAN = 30 * 1000

-- Of one namespace, in one span or in all; the rest is counted as one.
local PAIRS = 500
local OTHER = 'other other'

-- The numbers of both; names that are not known here are added like the others.
local function added(one, two)
  local order, values = {}, {}
  for name, value in string.gmatch(string.sub(one, 2) .. string.sub(two, 2), ' (%S+)=(%d+)') do
    local before = values[name]
    if not before then
      order[#order + 1] = name
      values[name] = value
    elseif name ~= 'p' then
      values[name] = digits(tonumber(before) + tonumber(value))
    elseif tonumber(value) > tonumber(before) then
      values[name] = value
    end
  end
  for i, name in ipairs(order) do
    order[i] = name .. '=' .. values[name]
  end
  return VERSION .. ' ' .. table.concat(order, ' ')
end

-- Adds numbers to a hash; answers under which pairs.
local function add_to(key, whose, numbers)
  local held = redis.call('HMGET', key, unpack(whose))
  local room = PAIRS - redis.call('HLEN', key)
  local order, sums = {}, {}
  for i, pair in ipairs(whose) do
    local before = sums[pair] or held[i]
    if not before and room > 0 then
      room = room - 1
    elseif not before then
      pair = OTHER
      before = sums[pair] or redis.call('HGET', key, pair)
    end
    if not sums[pair] then
      order[#order + 1] = pair
    end
    sums[pair] = before and added(before, numbers[i]) or numbers[i]
  end
  local fields = {}
  for _, pair in ipairs(order) do
    fields[#fields + 1] = pair
    fields[#fields + 1] = sums[pair]
  end
  redis.call('HSET', key, unpack(fields))
  return order
end

-- Adds numbers of pairs of a namespace to the span that runs and to what ever happened.
local function add_numbers(ns, whose, numbers)
  local span = ns .. ':' .. digits(now - now % SPAN)
  add_to(KEYS[1] .. 'n:' .. span, whose, numbers)
  redis.call('ZADD', KEYS[1] .. 'spans', digits(now - now % SPAN), span)
  local seen = {}
  for _, pair in ipairs(add_to(KEYS[1] .. 'sums:' .. ns, whose, numbers)) do
    seen[#seen + 1] = now_digits
    seen[#seen + 1] = ns .. ':' .. pair
  end
  redis.call('ZADD', KEYS[1] .. 'summed', unpack(seen))
end

-- What this call saw and nobody outside can tell: written once, at its end.
local noted

local function note(ns, queue, job, numbers)
  noted = noted or { order = {}, by = {} }
  local those = noted.by[ns]
  if not those then
    those = { whose = {}, numbers = {}, places = {} }
    noted.by[ns] = those
    noted.order[#noted.order + 1] = ns
  end
  local pair = queue .. ' ' .. job
  local place = those.places[pair]
  if place then
    those.numbers[place] = added(those.numbers[place], VERSION .. ' ' .. numbers)
  else
    place = #those.whose + 1
    those.whose[place], those.numbers[place], those.places[pair] = pair, VERSION .. ' ' .. numbers, place
  end
end

-- Notes that a task was accepted that no client submitted; `header` as lib/accept.lua takes it.
local function note_accepted(header)
  local f = fields_of(VERSION .. header, 3)
  note(f[1], f[2], f[3], 's=1')
end

-- Notes that a task ended of which no worker tells.
local function note_end(def, status, kind)
  local took = (now - def.created) * 1000
  local bound = '+'
  for each in string.gmatch(
    '500 1000 5000 10000 25000 50000 100000 250000 500000 1000000 2500000 5000000 10000000 30000000 '
      .. '60000000 300000000 1800000000 7200000000', '%d+'
  ) do
    if took <= tonumber(each) then
      bound = each
      break
    end
  end
  local what = status == 'CANCELLED' and 'x' or 'f:' .. kind
  note(def.ns, def.queue, def.job, what .. '=1 e' .. bound .. '=1 es=' .. digits(math.max(0, took)))
end

local function count_noted()
  if noted then
    for _, ns in ipairs(noted.order) do
      add_numbers(ns, noted.by[ns].whose, noted.by[ns].numbers)
    end
    noted = nil
  end
end
