-- One account's credit and budgets in one slot: holds are split off a lease that Postgres granted.
-- KEYS  1 acct:{a}   lease, left, until, epoch, poor, has, ref, seen, op:<id>
--       2 holds:{a}  request -> lease US amount US scope fields US record
--       3 due:{a}    sorted set of requests by the end of their hold
--       4 budgets:{a} scope|period -> spent + held; `loaded` marks it complete
--       5 outbox:{a} request -> charge message that no queue took
--       6 sent:{a}:request  charge message that a queue took, for look-ups; only `finish`, `find`
-- ARGV  1 operation, 2 now_ms (0 = the server's clock; set by the simulation only), then its own.
-- Amounts are decimal strings below 2^53. Keys 1 to 5 have no expiry: what expires is the sweeper's
-- decision. A changed meaning gets a new file name, so that two versions of the code can run (F22).
local US = '\31'
local op = ARGV[1]
local now = tonumber(ARGV[2])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end

local function int(n) return string.format('%.0f', n) end
local function num(v) return tonumber(v or '0') end

local function put_hold(request, lease, amount, fields, record)
  redis.call('HSET', KEYS[2], request, table.concat({lease, amount, fields, record}, US))
end

local function get_hold(request)
  local v = redis.call('HGET', KEYS[2], request)
  if not v then return nil end
  local lease, amount, fields, record = string.match(v, '^([^\31]*)\31(%d+)\31([^\31]*)\31(.*)$')
  return {lease = lease, amount = amount, fields = fields, record = record}
end

-- Adds a step to its lease, once per op_id, in any order.
-- Returns what the caller must give back in Postgres: lease and amount.
local function refill(lease, op_id, step, left_ms)
  local current, fin = unpack(redis.call('HMGET', KEYS[1], 'lease', 'until'))
  local fresh = now + tonumber(left_ms)
  if current ~= lease then
    if current and num(fin) > fresh then return 'STALE', lease, step end
    local rest = current and redis.call('HGET', KEYS[1], 'left') or '0'
    local epoch, seen = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'seen'))
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'lease', lease, 'left', step, 'until', int(fresh),
      'op:' .. op_id, '1', 'epoch', epoch or '0', 'seen', seen or int(now))
    return 'OK', current or '', rest
  end
  if redis.call('HSETNX', KEYS[1], 'op:' .. op_id, '1') == 1 then
    redis.call('HINCRBY', KEYS[1], 'left', step)
    redis.call('HDEL', KEYS[1], 'poor', 'has')
  end
  return 'OK', '', '0'
end

if op == 'refill' then -- lease, op_id, step, left_ms
  return {refill(ARGV[3], ARGV[4], ARGV[5], ARGV[6])}
end

-- request, amount, live_ms, epoch, record, low_water,
-- lease, op_id, step, left_ms (a refill first, or ''), n, (field, limit) * n
if op == 'admit' then
  local request, amount, live = ARGV[3], ARGV[4], tonumber(ARGV[5])
  local epoch, record, low_water, n = ARGV[6], ARGV[7], num(ARGV[8]), num(ARGV[13])
  local back_lease, back = '', '0'
  if ARGV[9] ~= '' then local _; _, back_lease, back = refill(ARGV[9], ARGV[10], ARGV[11], ARGV[12]) end
  local function reply(status, a, b) return {status, a or '', b or '', back_lease, back} end

  local held = get_hold(request)
  if held then return reply('DUP', held.lease) end
  local id, left, fin, poor, has, ref, known = unpack(redis.call('HMGET', KEYS[1],
    'lease', 'left', 'until', 'poor', 'has', 'ref', 'epoch'))
  if num(known) > tonumber(epoch) then return reply('STALE_PRINCIPAL', known) end
  if n > 0 then
    if redis.call('HEXISTS', KEYS[4], 'loaded') == 0 then return reply('LOAD') end
    for i = 0, n - 1 do
      local field, limit = ARGV[14 + 2 * i], ARGV[15 + 2 * i]
      local used = num(redis.call('HGET', KEYS[4], field))
      if limit ~= '' and used + tonumber(amount) > tonumber(limit) then
        return reply('BUDGET', field, int(tonumber(limit) - used))
      end
    end
  end
  if not id or num(fin) < now + live then return reply('LEASE', '', '0') end
  if num(left) < tonumber(amount) then
    -- Postgres said less than a second ago that it has only so much: the answer needs no SQL.
    if num(poor) > now and tonumber(amount) > num(left) + num(has) then
      return reply('POOR', int(num(left) + num(has)))
    end
    return reply('LEASE', id, left)
  end

  redis.call('HINCRBY', KEYS[1], 'left', '-' .. amount)
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'seen', int(now))
  local fields = {}
  for i = 0, n - 1 do
    fields[i + 1] = ARGV[14 + 2 * i]
    redis.call('HINCRBY', KEYS[4], fields[i + 1], amount)
  end
  put_hold(request, id, amount, table.concat(fields, '\n'), record)
  redis.call('ZADD', KEYS[3], int(now + live), request)
  if num(left) - tonumber(amount) < low_water and num(ref) < now then
    redis.call('HSET', KEYS[1], 'ref', int(now + 2000))
    return reply('OK', id, 'REFILL')
  end
  return reply('OK', id)
end

if op == 'poor' then -- what Postgres has besides the lease
  redis.call('HSET', KEYS[1], 'poor', int(now + 1000), 'has', ARGV[3])
  return {'OK'}
end

if op == 'epoch' then -- epoch: raised, never lowered
  if num(redis.call('HGET', KEYS[1], 'epoch')) < tonumber(ARGV[3]) then
    redis.call('HSET', KEYS[1], 'epoch', ARGV[3])
  end
  return {'OK'}
end

if op == 'load' then -- (field, used)*: only the first loader after a loss writes
  if redis.call('HSETNX', KEYS[4], 'loaded', int(now)) == 1 then
    for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 1]) end
  end
  return {'OK'}
end

if op == 'due' then -- limit, late_ms -> (request, lease, record)* of what ended so long ago
  local out, before = {}, now - num(ARGV[4])
  for _, request in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', int(before), 'LIMIT', 0, ARGV[3])) do
    local held = get_hold(request)
    if held then
      out[#out + 1], out[#out + 2], out[#out + 3] = request, held.lease, held.record
    else
      redis.call('ZREM', KEYS[3], request)
    end
  end
  return out
end

if op == 'outbox' then -- limit -> messages kept because no queue took them
  local all = redis.call('HSCAN', KEYS[5], 0, 'COUNT', ARGV[3])[2]
  local out = {}
  for i = 2, #all, 2 do out[#out + 1] = all[i] end
  return out
end

if op == 'drained' then -- request*
  redis.call('HDEL', KEYS[5], unpack(ARGV, 3))
  return {'OK'}
end

if op == 'retire' then -- lease, idle_ms: forget it when nothing is held and nobody came lately
  local id, seen = unpack(redis.call('HMGET', KEYS[1], 'lease', 'seen'))
  -- Flushed: requests may run on it that nobody remembers, so it lives to its end (C16).
  if not seen then return {'BUSY'} end
  -- the sweeper finds an account, and what is in its outbox, by its open leases
  if redis.call('HLEN', KEYS[2]) + redis.call('HLEN', KEYS[5]) > 0 or num(seen) + tonumber(ARGV[4]) > now then return {'BUSY'} end
  if id == ARGV[3] then redis.call('HDEL', KEYS[1], 'lease', 'left', 'until') end
  return {'OK'}
end

local request = ARGV[3]
local held = get_hold(request)

if op == 'find' then -- request -> what is known of it before the ledger knows it
  if held then return {'HELD', held.record} end
  local message = redis.call('HGET', KEYS[5], request)
  if message then return {'OUTBOX', message} end
  local sent = KEYS[6] and redis.call('GET', KEYS[6])
  if sent then return {'SENT', sent} end
  return {'NONE'}
end

if op == 'checkpoint' then -- request, record, more: stores progress, grows the hold
  if not held then return {'NONE', '0', ''} end
  local amount, lease, grown = held.amount, held.lease, '0'
  local id, left = unpack(redis.call('HMGET', KEYS[1], 'lease', 'left'))
  if tonumber(ARGV[5]) > 0 then
    local wanted = int(tonumber(amount) + tonumber(ARGV[5]))
    -- A hold of a lease that rolled moves to the current one whole; its old lease returns its part
    -- when it is closed.
    local take = id == lease and ARGV[5] or wanted
    if id and num(left) >= tonumber(take) then
      grown, amount, lease = ARGV[5], wanted, id
      redis.call('HINCRBY', KEYS[1], 'left', '-' .. take)
      for field in string.gmatch(held.fields, '[^\n]+') do redis.call('HINCRBY', KEYS[4], field, grown) end
    end
  end
  put_hold(request, lease, amount, held.fields, ARGV[4])
  return {'OK', grown, grown ~= '0' and lease or id or ''}
end

-- request, charge (0 = release), message ('' = no need to keep it), keep_ms ('' = in the outbox)
if op == 'finish' then
  if (ARGV[6] or '') ~= '' then redis.call('SET', KEYS[6], ARGV[5], 'PX', ARGV[6])
  elseif ARGV[5] ~= '' then redis.call('HSET', KEYS[5], request, ARGV[5]) end
  -- Flushed or finished before: the message is self-contained, so nothing is missing.
  if not held then return {'NONE'} end
  local amount, charge = tonumber(held.amount), tonumber(ARGV[4])
  local id, left = unpack(redis.call('HMGET', KEYS[1], 'lease', 'left'))
  if id == held.lease then
    local rest = amount - charge
    if rest < 0 then rest = -math.min(-rest, num(left)) end
    if rest ~= 0 then redis.call('HINCRBY', KEYS[1], 'left', int(rest)) end
  end
  if charge ~= amount then
    for field in string.gmatch(held.fields, '[^\n]+') do
      redis.call('HINCRBY', KEYS[4], field, int(charge - amount))
    end
  end
  redis.call('HDEL', KEYS[2], request)
  redis.call('ZREM', KEYS[3], request)
  return {'OK'}
end

return redis.error_reply('unknown operation ' .. op)
