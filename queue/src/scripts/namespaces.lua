#!lua flags=no-writes
-- The namespaces of which there are queues.
--
-- KEYS   the partition's prefix
-- ARGV   clock
-- Reply  their names, in order
-- use: namespace

return namespaces()
