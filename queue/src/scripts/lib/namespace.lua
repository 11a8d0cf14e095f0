-- The namespaces of which there are queues, by name.
local function namespaces()
  local found, seen = {}, {}
  for _, name in ipairs(redis.call('HKEYS', KEYS[1] .. 'q')) do
    local ns = string.match(name, '^[^:]*')
    if not seen[ns] then
      seen[ns] = true
      found[#found + 1] = ns
    end
  end
  table.sort(found)
  return found
end
