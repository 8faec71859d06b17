-- The totals of all processes: each adds what it gathered, so that the sum belongs to none of them.
-- KEYS 1 a hash, name US labels -> integer.  ARGV 1 how many fields it may have, then pairs:
-- '+field' adds, '=field' sets. What has no room is counted in the field '!refused'.
-- Without pairs: everything, as field, value, field, value.
if #ARGV == 1 then return redis.call('HGETALL', KEYS[1]) end
local room = tonumber(ARGV[1]) - redis.call('HLEN', KEYS[1])
for i = 2, #ARGV, 2 do
  local field = string.sub(ARGV[i], 2)
  local known = redis.call('HEXISTS', KEYS[1], field) == 1
  if not known and room <= 0 then
    redis.call('HINCRBY', KEYS[1], '!refused', 1)
  else
    if not known then room = room - 1 end
    if string.sub(ARGV[i], 1, 1) == '=' then
      redis.call('HSET', KEYS[1], field, ARGV[i + 1])
    else
      redis.call('HINCRBY', KEYS[1], field, ARGV[i + 1])
    end
  end
end
return {}
