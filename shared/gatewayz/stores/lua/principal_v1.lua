-- What a key hash stands for, kept for every process. KEYS 1 principal:{hash}; ARGV 1 op, 2 value.
-- A stale value does no harm: its epoch is refused by the admission script (D13).
if ARGV[1] == 'get' then return redis.call('GET', KEYS[1]) or '' end
redis.call('SET', KEYS[1], ARGV[2])
return 'OK'
