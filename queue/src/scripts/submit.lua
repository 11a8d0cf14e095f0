#!lua flags=
-- Accepts new tasks, all of them or, on an error, none.
--
-- KEYS   the partition's prefix
-- ARGV   clock, then the tasks as lib/accept.lua takes them
-- Reply  as lib/accept.lua answers
--
-- Invariant: a task that is there already, by its id or by its idempotency key, is answered as
-- known and not written again; every other is defined and in one place before the reply.
-- use: clock record task ready limits ends numbers finish kin accept

local reply = accept(ARGV, 2)
count_noted()
return reply
