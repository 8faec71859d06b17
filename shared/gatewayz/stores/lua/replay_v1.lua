-- One answer under a caller's own key: who writes it, what of it was sent, and for how long it is
-- kept. KEYS 1 replay:{account}:{key}  digest, owner, state (run | done), beat, blob
--            2 the same with :owner    the frames of that owner, in order
-- ARGV 1 operation, 2 now_ms (0 = the server's clock), 3 owner, then its own.
-- Frames are text that this script never reads. A changed meaning gets a new file name (F22).
local op, now, owner = ARGV[1], tonumber(ARGV[2]), ARGV[3]
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local function int(n) return string.format('%.0f', n) end

-- digest, life_ms, silent_ms, anew ('1': an answer that is over does not count)
if op == 'claim' then
  local digest, known, state, beat = unpack(redis.call('HMGET', KEYS[1],
    'digest', 'owner', 'state', 'beat'))
  if digest and digest ~= ARGV[4] then return {'OTHER', ''} end
  if not digest or (state == 'done' and ARGV[7] == '1') then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'digest', ARGV[4], 'owner', owner, 'state', 'run', 'beat', int(now))
    redis.call('PEXPIRE', KEYS[1], ARGV[5])
    return {'OWN', owner}
  end
  if state == 'done' then return {'DONE', known} end
  if tonumber(beat) + tonumber(ARGV[6]) < now then return {'SILENT', known} end
  return {'RUNNING', known}
end

-- from, silent_ms -> state, blob, frames from there on
if op == 'read' then
  local known, state, beat, blob = unpack(redis.call('HMGET', KEYS[1],
    'owner', 'state', 'beat', 'blob'))
  local frames = redis.call('LRANGE', KEYS[2], ARGV[4], -1)
  if known ~= owner then state = #frames > 0 and 'done' or 'gone' end
  if state == 'run' and tonumber(beat) + tonumber(ARGV[5]) < now then state = 'silent' end
  return {state, blob or '', unpack(frames)}
end

if redis.call('HGET', KEYS[1], 'owner') ~= owner then return {'LOST'} end

if op == 'append' then -- life_ms, frame*
  for i = 5, #ARGV do redis.call('RPUSH', KEYS[2], ARGV[i]) end
  redis.call('HSET', KEYS[1], 'beat', int(now))
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
  return {'OK'}
end

if op == 'finish' then -- life_ms, blob ('' = all is in the list), frame*
  for i = 6, #ARGV do redis.call('RPUSH', KEYS[2], ARGV[i]) end
  redis.call('HSET', KEYS[1], 'state', 'done', 'blob', ARGV[5])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
  return {'OK'}
end

if op == 'drop' then
  redis.call('DEL', KEYS[1], KEYS[2])
  return {'OK'}
end

return redis.error_reply('unknown operation ' .. op)
