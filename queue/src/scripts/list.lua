#!lua flags=no-writes
-- Tasks that have what is asked for, a slice at a time: at most so many candidates are looked at,
-- however many tasks there are.
--
-- KEYS   the partition's prefix
-- ARGV   clock, namespace, queue, job, tag, since, before (milliseconds; '' for any), how many
--        are wanted, where to go on (status, set, score, member; the last three '' to begin),
--        statuses
-- Reply  where to go on (status, set, score, member; '' each at the end), per task: id, status,
--        definition's header ('' if there is none, which must never be), state, finished record's
--        beginning, claim
--
-- Finished tasks come newest first, the others in the order of their set.
-- use: clock record task page

local P = KEYS[1]
local filter = {
  ns = ARGV[2], queue = ARGV[3], job = ARGV[4], tag = ARGV[5], since = ARGV[6], before = ARGV[7],
}
local wanted = tonumber(ARGV[8])
local status, set, at, member = ARGV[9], ARGV[10], ARGV[11], ARGV[12]
local LOOK = 1000
-- A finished record's beginning, with the error if that is not long.
local ENOUGH = 4096

local plain = filter.queue .. filter.job .. filter.tag .. filter.since .. filter.before == ''
local items, looked = {}, 0

-- All sets there are to walk, from the one where the last call ended.
local walk, reached = {}, status == ''
for i = 13, #ARGV do
  for _, name in ipairs(sets_of(ARGV[i], filter.ns, filter.queue)) do
    if not reached and ARGV[i] == status and (set == '' or name == set) then
      reached = true
    end
    if reached then
      walk[#walk + 1] = { status = ARGV[i], set = name }
    end
  end
end

local function add(task, part, header)
  local ended = string.sub(part.set, 1, 4) == 'fin:'
  local started = part.set == 'run' or ended
  items[#items + 1] = task.id
  items[#items + 1] = part.status
  items[#items + 1] = header
  items[#items + 1] = redis.call('GET', P .. 's:' .. task.id) or ''
  items[#items + 1] = ended and redis.call('GETRANGE', P .. 'x:' .. task.id, 0, ENOUGH - 1) or ''
  items[#items + 1] = started and redis.call('HGET', P .. 'run', task.id) or ''
  wanted = wanted - 1
end

for i, part in ipairs(walk) do
  if i > 1 or set == '' then
    at, member = '', ''
  end
  local ended = false
  while not ended do
    local ask = math.min(plain and wanted or LOOK, LOOK - looked)
    if wanted == 0 or ask <= 0 then
      return { part.status, part.set, at, member, items }
    end
    local found
    found, ended = candidates(part.set, string.sub(part.set, 1, 4) == 'fin:', at, member, ask)
    for _, task in ipairs(found) do
      if wanted == 0 then
        ended = false
        break
      end
      looked = looked + 1
      at, member = task.score, task.member
      local header = redis.call('GETRANGE', P .. 'd:' .. task.id, 0, HEADER - 1)
      if header == '' or matches(parse_definition(header), filter) then
        add(task, part, header)
      end
    end
  end
end
return { '', '', '', '', items }
