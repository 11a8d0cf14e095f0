#!lua flags=no-writes
-- All API keys.
--
-- KEYS   the partition's prefix
-- ARGV   clock, the version that is known, or ''
-- Reply  the time, the version, and unless that is the one that is known: per key, by id, its id and
--        its record (see lib/key.lua)
-- use: clock record key

local P = KEYS[1]
local version = redis.call('GET', P .. 'keysver') or '0'
if version == ARGV[2] then
  return { now_digits, version }
end
local records, ids = {}, {}
local flat = redis.call('HGETALL', P .. 'keys')
for i = 1, #flat, 2 do
  ids[#ids + 1] = flat[i]
  records[flat[i]] = flat[i + 1]
end
table.sort(ids)
local found = {}
for _, id in ipairs(ids) do
  found[#found + 1] = id
  found[#found + 1] = records[id]
end
return { now_digits, version, found }
