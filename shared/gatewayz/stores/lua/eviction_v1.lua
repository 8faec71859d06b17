-- The eviction policy as this Redis tells it: 'noeviction', 'allkeys-lru', …; '' when it does not.
-- With another than the first it may throw a hold away at random, and money with it.
local info = redis.pcall('INFO', 'memory')
if type(info) ~= 'string' then return '' end
return string.match(info, 'maxmemory_policy:([%w-]+)') or ''
