-- The prices of a quote, for as long as it holds. KEYS 1 quote:{account}:id; ARGV 1 op, 2 life in
-- ms, 3 value.
if ARGV[1] == 'get' then return redis.call('GET', KEYS[1]) or '' end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2])
return 'OK'
