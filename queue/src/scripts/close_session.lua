#!lua flags=allow-oom
-- Closes a session.
--
-- KEYS   the partition's prefix
-- ARGV   clock, the hash of its token
-- Reply  1
-- use: session

drop_sessions({ ARGV[2] })
return 1
