-- The published catalog. KEYS 1 catalog:{catalog}, a hash that says which version is current.
-- A version's entries are a hash of its own beside it, its pages another: same tag, same slot, so
-- that a reader gets pointer and entry in one call, and one write moves everybody on.
--   m:<id> record   a:<name in lower case> id   r:<name in lower case> id that a retired one leads to
local pointer, op = KEYS[1], ARGV[1]
local function entries(version) return pointer .. ':' .. version end
local function pages(version) return pointer .. ':' .. version .. ':pages' end

if op == 'find' then
  -- ARGV 2 version to look in, '' for the current one; then pairs: a name, the same in lower case.
  -- {current, previous, place of the pair, how, record}; place 0: no such name.
  local state = redis.call('HMGET', pointer, 'current', 'previous')
  local current, previous = state[1] or '', state[2] or ''
  local version = ARGV[2] ~= '' and ARGV[2] or current
  if version == '' then return {'', '', 0, '', ''} end
  local key = entries(version)
  for i = 3, #ARGV, 2 do
    local place = (i - 1) / 2
    local record = redis.call('HGET', key, 'm:' .. ARGV[i])
    if record then return {current, previous, place, 'm', record} end
    for _, how in ipairs({'a', 'r'}) do
      local id = redis.call('HGET', key, how .. ':' .. ARGV[i + 1])
      record = id and redis.call('HGET', key, 'm:' .. id)
      if record then return {current, previous, place, how, record} end
    end
  end
  -- A pointer to a version whose entries are gone is no catalog.
  if redis.call('EXISTS', key) == 0 then return {'', previous, 0, '', ''} end
  return {current, previous, 0, '', ''}
end

if op == 'put' or op == 'put_page' then
  -- ARGV 2 version, 3 seconds until it goes unless it is switched to; then field, value, ….
  local key = op == 'put' and entries(ARGV[2]) or pages(ARGV[2])
  for i = 4, #ARGV, 2 do redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
  redis.call('EXPIRE', key, ARGV[3])
  return redis.call('HLEN', key)
end

if op == 'switch' then
  -- ARGV 2 version, 3 number of fields it must have, 4 seconds that the old one is kept.
  -- The one write by which everybody moves on; refused when the new version is not whole.
  local old = redis.call('HGET', pointer, 'current')
  if redis.call('HLEN', entries(ARGV[2])) ~= tonumber(ARGV[3]) then return {'incomplete', old or ''} end
  if old == ARGV[2] then return {'same', old} end
  redis.call('PERSIST', entries(ARGV[2]))
  redis.call('PERSIST', pages(ARGV[2]))
  redis.call('HSET', pointer, 'current', ARGV[2], 'previous', old or '')
  if old then
    redis.call('EXPIRE', entries(old), ARGV[4])
    redis.call('EXPIRE', pages(old), ARGV[4])
  end
  return {'switched', old or ''}
end

if op == 'page' then
  -- ARGV 2 name: {current, text}
  local current = redis.call('HGET', pointer, 'current') or ''
  if current == '' then return {'', ''} end
  return {current, redis.call('HGET', pages(current), ARGV[2]) or ''}
end

-- state: {current, previous, whether the current one's entries are there}
local state = redis.call('HMGET', pointer, 'current', 'previous')
local current = state[1] or ''
return {current, state[2] or '', current ~= '' and redis.call('EXISTS', entries(current)) or 0}
