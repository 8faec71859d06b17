-- Accounts that may have something in their outbox: the sweeper drains them whatever leases are open.
-- KEYS 1 outboxes (a set); ARGV 1 add | remove | list, 2 account (list: how many at most).
if ARGV[1] == 'add' then return redis.call('SADD', KEYS[1], ARGV[2]) end
if ARGV[1] == 'remove' then return redis.call('SREM', KEYS[1], ARGV[2]) end
return redis.call('SRANDMEMBER', KEYS[1], ARGV[2])
