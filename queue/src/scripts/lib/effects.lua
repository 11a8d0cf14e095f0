-- What attempts do through the store: state that they read and change, tasks that they submit.
--
-- `state:<ns>:<job>`  key -> a record: its version, then its value
-- `sizes`             <ns>:<job> -> how many bytes its state has, keys and values
-- `tree`              task -> how many tasks descend from it
-- `ck:<task>`         what an attempt saved to go on from (opaque)
--
-- Invariant: an attempt's effects are committed with its completion, all of them or none, and only
-- if what it had read is still as it was.
local STATE_BYTES = 64 * 1024 * 1024
local DESCENDANTS = 100000
-- Beyond this the sum of two integers may be another one.
local LARGEST = 2 ^ 53 - 1

-- How many conflicts count as one failure.
local CONFLICTS = 20

-- A list of strings, each led by its length and a colon.
local function strings_of(packed)
  local strings, at = {}, 1
  while at <= #packed do
    local _, colon, length = string.find(packed, '^(%d+):', at)
    at = colon + 1 + tonumber(length)
    strings[#strings + 1] = string.sub(packed, colon + 1, at - 1)
  end
  return strings
end

-- scope, root     <ns>:<job>, and the task from which all of its family descends
-- wait            how long to wait after a conflict
-- failure_wait    the same when the conflict counts as a failure; nil: no failure is left
-- tail            what is recorded of an error (opaque), with %s where the message goes
-- drops           whether a checkpoint may be there
-- reads           per key: the version that was seen, 0 for none
-- writes          per key: = value, - nothing, or + number
-- list, children  the tasks as lib/accept.lua takes them begin in the list here
local function effects_of(packed)
  if packed == '' then
    return nil
  end
  local list = strings_of(packed)
  local e = {
    scope = list[1], root = list[2], wait = tonumber(list[3]), failure_wait = tonumber(list[4]),
    tail = list[5], drops = list[6] == '1', reads = {}, writes = {}, list = list,
  }
  local at = 7
  for i = 1, tonumber(list[at]) do
    e.reads[i] = { key = list[at + 2 * i - 1], version = tonumber(list[at + 2 * i]) }
  end
  at = at + 1 + 2 * #e.reads
  for i = 1, tonumber(list[at]) do
    local first = at + 3 * i - 2
    e.writes[i] = { what = list[first], key = list[first + 1], value = list[first + 2] }
  end
  e.children = at + 1 + 3 * #e.writes
  return e
end

-- The versions and values of keys, as far as they are there.
local function stand_of(scope, wanted)
  local keys = {}
  for i, one in ipairs(wanted) do
    keys[i] = one.key
  end
  local records = #keys > 0 and redis.call('HMGET', KEYS[1] .. 'state:' .. scope, unpack(keys)) or {}
  local versions, values = {}, {}
  for i, record in ipairs(records) do
    versions[i] = 0
    if record then
      local f, tail = fields_of(record, 1)
      versions[i], values[i] = tonumber(f[1]), string.sub(record, tail)
    end
  end
  return versions, values
end

-- Whether something that the attempt had read is not as it was.
local function is_stale(e)
  local versions = stand_of(e.scope, e.reads)
  for i, read in ipairs(e.reads) do
    if versions[i] ~= read.version then
      return true
    end
  end
  return false
end

local function explained(e, message)
  local from, to = string.find(e.tail, '%s', 1, true)
  return string.sub(e.tail, 1, from - 1) .. message .. string.sub(e.tail, to + 1)
end

local function sum_of(value, number)
  local base = value == nil and 0 or string.find(value, '^%-?%d+$') and tonumber(value)
  local sum = base and base + number
  return sum and math.abs(base) <= LARGEST and math.abs(sum) <= LARGEST and digits(sum) or nil
end

-- Commits what an attempt of a task did; or answers why that cannot be, and has written nothing.
local function commit(e, task)
  local scope = e.scope
  local _, values = stand_of(scope, e.writes)
  local bytes = #e.writes > 0 and tonumber(redis.call('HGET', KEYS[1] .. 'sizes', scope) or 0)
  for i, write in ipairs(e.writes) do
    if values[i] then
      bytes = bytes - #write.key - #values[i]
    end
    if write.what == '+' then
      write.value = sum_of(values[i], tonumber(write.value))
      if not write.value then
        return 'it adds to state that is no integer, or would be beyond 9007199254740991'
      end
    end
    if write.what ~= '-' then
      bytes = bytes + #write.key + #write.value
    end
  end
  if bytes and bytes > STATE_BYTES then
    return 'the state of its job would have more than 64 MiB'
  end
  local children = (#e.list - e.children + 1) / STEP
  if children > 0 then
    local family = tonumber(redis.call('HGET', KEYS[1] .. 'tree', e.root) or 0) + children
    if family > DESCENDANTS then
      return 'more than ' .. digits(DESCENDANTS) .. ' tasks would descend from the task ' .. e.root
    end
    local accepted = accept(e.list, e.children, note_accepted)
    if accepted[1] ~= 'ok' then
      return 'a task that it submits waits for one that is not there'
    end
    redis.call('HSET', KEYS[1] .. 'tree', e.root, digits(family))
    for at = 2, #accepted, 3 do
      add_kin(task, accepted[at])
    end
  end
  if #e.writes > 0 then
    local version = digits(redis.call('HINCRBY', KEYS[1] .. 'seq', 'version', 1))
    local set, gone = {}, {}
    for _, write in ipairs(e.writes) do
      if write.what == '-' then
        gone[#gone + 1] = write.key
      else
        set[#set + 1] = write.key
        set[#set + 1] = VERSION .. pack({ version }) .. write.value
      end
    end
    if #set > 0 then
      redis.call('HSET', KEYS[1] .. 'state:' .. scope, unpack(set))
    end
    if #gone > 0 then
      redis.call('HDEL', KEYS[1] .. 'state:' .. scope, unpack(gone))
    end
    redis.call('HSET', KEYS[1] .. 'sizes', scope, digits(bytes))
  end
  return nil
end
