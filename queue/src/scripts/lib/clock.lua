-- The store's clock in milliseconds, read once per script. ARGV[1] is empty, except in tests,
-- where it is the time.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Whole numbers as text: `..` and tostring would lose the last digits of a large one, and `%.0f`
-- takes several times as long.
local function digits(number)
  return string.format('%d', number)
end

-- The time, as it is written.
local now_digits = digits(now)

-- The length of a lease: one value for the whole store.
local function lease_length()
  return tonumber(redis.call('GET', KEYS[1] .. 'lease') or 10000)
end
