-- A record is a version byte, then fields of at most 255 bytes, each behind one byte that holds
-- its length, then a tail of any length, which scripts carry but do not look into.
local VERSION = '1'

local function pack(fields)
  local parts = {}
  for i = 1, #fields do
    parts[i] = string.char(#fields[i]) .. fields[i]
  end
  return table.concat(parts)
end

-- The first `count` fields of a record, and where its tail begins.
local function fields_of(record, count)
  local fields, at = {}, 2
  for i = 1, count do
    local length = string.byte(record, at)
    fields[i] = string.sub(record, at + 1, at + length)
    at = at + 1 + length
  end
  return fields, at
end

