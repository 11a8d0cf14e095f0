-- Sessions of browsers, each known by the SHA-256 of its token.
--
-- `sess`      token -> the id of its key    `sessends`  tokens by the end of their sessions
-- `sessions`  tokens in the order in which they were opened
local function drop_sessions(tokens)
  if #tokens > 0 then
    redis.call('HDEL', KEYS[1] .. 'sess', unpack(tokens))
    redis.call('ZREM', KEYS[1] .. 'sessends', unpack(tokens))
    redis.call('ZREM', KEYS[1] .. 'sessions', unpack(tokens))
  end
end
