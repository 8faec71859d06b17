-- How many requests of an account hold credit. KEYS 1 holds:{a}
return redis.call('HLEN', KEYS[1])
