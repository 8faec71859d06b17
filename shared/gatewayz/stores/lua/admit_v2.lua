-- One account's credit, budgets and rate limits in one slot: holds are split off a lease that
-- Postgres granted, and either every limit has room or nothing is held.
-- KEYS  1 acct:{a}   lease, left, until, epoch, poor, has, ref, seen, op:<id>
--       2 holds:{a}  request -> lease US amount US fields US record
--       3 due:{a}    sorted set of requests by the end of their hold
--       4 budgets:{a} scope|period -> used and held; ~scope -> a bucket's tat in µs; `loaded` marks
--                    that the authority's figures are in it
--       5 outbox:{a} request -> charge message that no queue took
--       6 sent:{a}:request  charge message that a queue took, for look-ups; only `finish`, `find`
--       slots:{a}:<key>  sorted set of a key's requests under way; made here, for keys that limit it
-- ARGV  1 operation, 2 now_ms (0 = the server's clock; set by the simulation only), then its own.
-- Amounts are decimal strings below 2^53. Keys 1 to 5 have no expiry: what expires is the sweeper's
-- decision. A changed meaning gets a new file name, so that two versions of the code can run (F22):
-- version 1 reads the holds of this one, and corrects none of their counts but money.
--
-- A limit is a line `<unit><kind> <limit> <seed> <scope>`, lines are separated by \n.
--   unit  n nano-USD, named in the charge; p nano-USD, not named; r requests; t tokens, by estimate;
--         u tokens, by their upper bound
--   kind  m, h a bucket that refills evenly within a minute, an hour (GCRA); D, W, M, T a UTC day,
--         week from Monday, month, for ever; c requests under way
--   seed  - or <period>=<used>: what counts before the first count of that period; of what is named
--         in a charge (n) the least that counts at any time: limits are set anew within a period
-- Estimates (t) larger than what is left pass when nothing is used yet, and are paid off later.
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

-- ------------------------------------------------------------------ limits

local PERIOD_US = {m = 60000000, h = 3600000000}
local DAY_MS = 86400000
local MAX_FIELDS, SCAN, ROUNDS = 100000, 100, 5

-- The civil date of a day since 1970.
local function date_of(days)
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524)
    - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return year, month, doy - math.floor((153 * mp + 2) / 5) + 1
end

local function text_of(days) return string.format('%04d-%02d-%02d', date_of(days)) end

-- The name of the period that now is in, and ms until the next one.
local function period_of(kind)
  local today = math.floor(now / DAY_MS)
  if kind == 'D' then return text_of(today), (today + 1) * DAY_MS - now end
  if kind == 'W' then
    local monday = today - (today + 3) % 7
    return text_of(monday), (monday + 7) * DAY_MS - now
  end
  if kind == 'M' then
    local year, month, day = date_of(today)
    local first = today - day + 1
    local _, next_month, next_day = date_of(first + 31)
    return string.format('%04d-%02d', year, month), (first + 32 - next_day) * DAY_MS - now
  end
  return 'total', 0
end

-- Takes fields of periods long past, and of buckets that are full, out of the hash: a few each time
-- that a field is made. A day of a budget may go after the next one, which holds may still end in.
local function prune()
  local cursor = redis.call('HGET', KEYS[4], 'scan') or '0'
  local found = redis.call('HSCAN', KEYS[4], cursor, 'COUNT', SCAN)
  local today = math.floor(now / DAY_MS)
  local old, yesterday = text_of(today - 8), text_of(today - 1)
  for i = 1, #found[2], 2 do
    local name = found[2][i]
    local scope, label = string.match(name, '^(.*)|(%d[%d-]+)$')
    local least = label and string.sub(scope, -6) == ':daily' and yesterday or old
    local gone = label and label < string.sub(least, 1, #label)
    if string.sub(name, 1, 1) == '~' then gone = num(found[2][i + 1]) < now * 1000 end
    if gone then redis.call('HDEL', KEYS[4], name) end
  end
  redis.call('HSET', KEYS[4], 'scan', found[1])
end

-- Is there room for one more field of a name that callers choose? Looks for old ones before it
-- says no, a few more with each call.
local function room_for_name()
  local rounds = 0
  while redis.call('HLEN', KEYS[4]) >= MAX_FIELDS do
    if rounds == ROUNDS then return false end
    prune()
    rounds = rounds + 1
  end
  return true
end

-- Of the fields of a hold, those that its charge names.
local function named_of(fields)
  local named = {}
  for field in string.gmatch(fields, '[^\n]+') do
    if string.sub(field, 1, 1) ~= '\30' then named[#named + 1] = field end
  end
  return table.concat(named, '\n')
end

local function slots_of(key) return 'slots' .. string.sub(KEYS[1], 5) .. ':' .. key end

-- Reads the lines and what is used of them. `costs` by unit. Each limit: what it is, what this
-- request takes of it (cost), what is left without it (left), when it is whole again (reset, ms),
-- when there is room (retry, ms; 0 = now).
local function read_limits(lines, costs)
  local found = {}
  for unit, kind, limit, seed, scope in string.gmatch(lines, '(%l)(%a) (%d+) (%S+) ([^\n]+)') do
    local l = {unit = unit, kind = kind, limit = tonumber(limit), scope = scope,
      cost = costs[unit], retry = 0}
    local span = PERIOD_US[kind]
    if kind == 'c' then
      l.field = scope == 'account' and KEYS[3] or slots_of(scope)
      l.left = l.limit - redis.call('ZCOUNT', l.field, '(' .. int(now), '+inf')
      l.reset = 0
      if l.left < 1 then l.retry = 1000 end
    elseif span then
      l.field = '~' .. kind .. scope
      local now_us = now * 1000
      l.tat = math.max(now_us, num(redis.call('HGET', KEYS[4], l.field)))
      l.step = math.floor(l.cost * span / l.limit)
      local ahead = l.tat + l.step - now_us
      if ahead > span and (unit == 'r' or l.tat > now_us) then
        l.retry = math.ceil(math.min(ahead - span, l.tat - now_us) / 1000)
      end
      l.left = math.max(0, math.floor((span - (l.tat - now_us)) * l.limit / span))
      l.reset = math.ceil((l.tat - now_us) / 1000)
    else
      local label, ends = period_of(kind)
      l.field = scope .. '|' .. label
      local used = redis.call('HGET', KEYS[4], l.field)
      local at, before = string.match(seed, '^(%S+)=(%d+)$')
      local least = at == label and tonumber(before) or 0
      l.fresh = not used
      used = num(used)
      -- what is missing of it is counted with the request
      l.seed = (l.fresh or unit == 'n') and math.max(0, least - used) or 0
      used = used + l.seed
      l.left, l.reset = l.limit - used, ends
      if l.cost > l.left and not (unit == 't' and used == 0) then
        l.retry = ends > 0 and ends or -1
      end
      if l.fresh and (string.find(scope, '^user:') or string.find(scope, '^session:'))
          and not room_for_name() then
        l.left, l.retry = 0, -1
      end
    end
    found[#found + 1] = l
  end
  return found
end

-- Counts a request in its limits, once. Gives the fields that its end corrects.
local function count_in(limits, request, live)
  local fields, pruned = {}, false
  for _, l in ipairs(limits) do
    local name
    if l.kind == 'c' then
      if l.field ~= KEYS[3] then
        redis.call('ZREMRANGEBYSCORE', l.field, '-inf', int(now))
        redis.call('ZADD', l.field, int(now + live), request)
        redis.call('PEXPIRE', l.field, int(live))
        name = '\30c\30' .. l.field
      end
    elseif l.tat then
      redis.call('HSET', KEYS[4], l.field, int(l.tat + l.step))
      l.reset = math.ceil((l.tat + l.step - now * 1000) / 1000)
      if l.unit ~= 'r' then
        name = table.concat({'\30g', int(l.cost), ':', int(l.limit), ':', l.kind, '\30', l.field})
      end
    else
      redis.call('HINCRBY', KEYS[4], l.field, int(l.cost + l.seed))
      if l.unit == 'n' then name = table.concat({l.field, '\n\30b', int(l.limit), '\30', l.field})
      elseif l.unit == 'p' then
        name = table.concat({'\30p\30', l.field, '\n\30b', int(l.limit), '\30', l.field})
      elseif l.unit ~= 'r' then name = '\30t' .. int(l.cost) .. '\30' .. l.field end
      pruned = pruned or l.fresh
    end
    if name then fields[#fields + 1] = name end
    if l.kind ~= 'c' then l.left = l.left - l.cost end
  end
  if pruned then prune() end
  return table.concat(fields, '\n')
end

-- The tightest limit of a unit as text: limit, left, ms until it is whole again.
local function tightest(limits, a, b)
  local found
  for _, l in ipairs(limits) do
    if (l.unit == a or l.unit == b) and l.kind ~= 'c' and (not found or l.left < found.left) then
      found = l
    end
  end
  if not found then return '' end
  return table.concat({int(found.limit), int(math.max(0, found.left)), int(found.reset)}, ' ')
end

local function of_trial(l) return string.sub(l.scope, 1, 6) == 'trial:' end

local function left_of_trial(limits)
  local left = {}
  for _, l in ipairs(limits) do
    if of_trial(l) then left[l.unit] = int(math.max(0, l.left)) end
  end
  return left.p and table.concat({left.p, left.r or '0', left.u or '0'}, ' ') or ''
end

-- The limit without room that lasts longest; those that never get room come last of all.
local function refusing(limits)
  local found
  for _, l in ipairs(limits) do
    local rates = l.unit ~= 'n' and l.unit ~= 'p' and not of_trial(l)
    if l.retry ~= 0 then
      local rank = rates and l.retry or -1
      if not found or rank > found.rank then found, l.rank = l, rank end
    end
  end
  return found
end

-- Moves a field by what a request used more or less than it took. What would be below zero was
-- forgotten meanwhile, and begins anew.
local function move(field, more)
  if more ~= 0 and redis.call('HINCRBY', KEYS[4], field, int(more)) < 0 then
    redis.call('HDEL', KEYS[4], field)
  end
end

-- May a hold take so much more? Each `\30b<limit>\30<field>` of it says what a field of money may
-- reach; the limit is the one that the request was admitted under.
local function may_grow(fields, more)
  for limit, field in string.gmatch(fields, '\30b(%d+)\30([^\n]+)') do
    if num(redis.call('HGET', KEYS[4], field)) + more > tonumber(limit) then return false end
  end
  return true
end

-- At the end of a request: what it took becomes what it used. `tokens` '' leaves estimates alone.
local function correct(fields, money, tokens)
  for field in string.gmatch(fields, '[^\n]+') do
    local how, rest = string.match(field, '^\30([^\30]*)\30(.*)$')
    local what = how and string.sub(how, 1, 1)
    if not how then move(field, money)
    elseif what == 'p' then move(rest, money)
    elseif what == 'c' then redis.call('ZREM', rest, ARGV[3])
    elseif tokens ~= '' and what == 't' then
      move(rest, tonumber(tokens) - num(string.sub(how, 2)))
    elseif tokens ~= '' and what == 'g' then
      local cost, limit, kind = string.match(how, '^g(%d+):(%d+):(%l)$')
      local more = math.floor((tonumber(tokens) - tonumber(cost)) * PERIOD_US[kind] / tonumber(limit))
      local tat = num(redis.call('HGET', KEYS[4], rest))
      -- What was too much is given back; what is missing is taken from now on.
      if more > 0 then tat = math.max(tat, now * 1000) end
      redis.call('HSET', KEYS[4], rest, int(math.max(0, tat + more)))
    end
  end
end

if op == 'refill' then -- lease, op_id, step, left_ms
  return {refill(ARGV[3], ARGV[4], ARGV[5], ARGV[6])}
end

-- request, amount, live_ms, epoch, record, low_water,
-- lease, op_id, step, left_ms (a refill first, or ''), tokens, most tokens, lines
-- -> status, its two words, lease and amount to give back, fields of the charge (\n), the tightest
-- limits of requests and tokens, what the trial leaves, the tightest budget
if op == 'admit' then
  local request, amount, live = ARGV[3], ARGV[4], tonumber(ARGV[5])
  local epoch, record, low_water, lines = ARGV[6], ARGV[7], num(ARGV[8]), ARGV[15]
  local back_lease, back = '', '0'
  if ARGV[9] ~= '' then local _; _, back_lease, back = refill(ARGV[9], ARGV[10], ARGV[11], ARGV[12]) end
  local limits = {}
  local function reply(status, a, b, named)
    if lines == '' then return {status, a or '', b or '', back_lease, back, '', '', '', '', ''} end
    return {status, a or '', b or '', back_lease, back, named or '',
      tightest(limits, 'r', 'r'), tightest(limits, 't', 'u'), left_of_trial(limits),
      tightest(limits, 'n', 'n')}
  end

  local held = get_hold(request)
  if held then
    return reply('DUP', held.lease, held.fields ~= '' and 'COUNTED', named_of(held.fields))
  end
  local id, left, fin, poor, has, ref, known = unpack(redis.call('HMGET', KEYS[1],
    'lease', 'left', 'until', 'poor', 'has', 'ref', 'epoch'))
  if num(known) > tonumber(epoch) then return reply('STALE_PRINCIPAL', known) end
  if lines ~= '' then
    if string.find('\n' .. lines, '\n[npu]') and redis.call('HEXISTS', KEYS[4], 'loaded') == 0 then
      return reply('LOAD')
    end
    limits = read_limits(lines, {n = tonumber(amount), p = tonumber(amount), r = 1,
      t = tonumber(ARGV[13]), u = tonumber(ARGV[14])})
    local l = refusing(limits)
    if l then
      local name = l.unit .. l.kind .. ' ' .. int(l.limit) .. ' ' .. l.scope
      if l.unit == 'n' then return reply('BUDGET', name, int(l.left)) end
      if of_trial(l) then return reply('TRIAL', name, int(l.left)) end
      return reply('LIMIT', name, int(l.retry))
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
  local fields = #limits > 0 and count_in(limits, request, live) or ''
  put_hold(request, id, amount, fields, record)
  redis.call('ZADD', KEYS[3], int(now + live), request)
  if num(left) - tonumber(amount) < low_water and num(ref) < now then
    redis.call('HSET', KEYS[1], 'ref', int(now + 2000))
    return reply('OK', id, fields ~= '' and 'REFILL COUNTED' or 'REFILL', named_of(fields))
  end
  return reply('OK', id, fields ~= '' and 'COUNTED' or '', named_of(fields))
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

if op == 'raise' then -- (field, used)*: what others counted meanwhile; nothing is lowered
  for i = 3, #ARGV, 2 do
    if num(redis.call('HGET', KEYS[4], ARGV[i])) < tonumber(ARGV[i + 1]) then
      redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 1])
    end
  end
  return {'OK'}
end

if op == 'forget' then -- field*: of budgets that lapsed, or that begin anew
  for i = 3, #ARGV do redis.call('HDEL', KEYS[4], ARGV[i]) end
  return {'OK'}
end

if op == 'limits' then -- lines -> (left, reset_ms)* in their order, nothing is counted
  local out = {}
  for i, l in ipairs(read_limits(ARGV[3], {n = 0, p = 0, r = 0, t = 0, u = 0})) do
    out[2 * i - 1], out[2 * i] = int(math.max(0, l.left)), int(math.max(0, l.reset))
  end
  return out
end

if op == 'due' then -- limit, late_ms -> (request, lease, record, fields)* of what ended so long ago
  local out, before = {}, now - num(ARGV[4])
  for _, request in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', int(before), 'LIMIT', 0, ARGV[3])) do
    local held = get_hold(request)
    if held then
      out[#out + 1], out[#out + 2], out[#out + 3] = request, held.lease, held.record
      out[#out + 1] = named_of(held.fields)
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

-- request, record, more: stores progress, grows the hold. FULL: a budget has no room for more.
if op == 'checkpoint' then
  if not held then return {'NONE', '0', ''} end
  local amount, lease, grown = held.amount, held.lease, '0'
  local id, left = unpack(redis.call('HMGET', KEYS[1], 'lease', 'left'))
  local more = tonumber(ARGV[5])
  if more > 0 and not may_grow(held.fields, more) then
    put_hold(request, lease, amount, held.fields, ARGV[4])
    return {'FULL', '0', id or ''}
  end
  if more > 0 then
    local wanted = int(tonumber(amount) + more)
    -- A hold of a lease that rolled moves to the current one whole; its old lease returns its part
    -- when it is closed.
    local take = id == lease and ARGV[5] or wanted
    if id and num(left) >= tonumber(take) then
      grown, amount, lease = ARGV[5], wanted, id
      redis.call('HINCRBY', KEYS[1], 'left', '-' .. take)
      for field in string.gmatch(held.fields, '[^\n]+') do
        local money = string.match(field, '^\30p\30(.*)$')
        if not money and string.sub(field, 1, 1) ~= '\30' then money = field end
        if money then redis.call('HINCRBY', KEYS[4], money, grown) end
      end
    end
  end
  put_hold(request, lease, amount, held.fields, ARGV[4])
  return {'OK', grown, grown ~= '0' and lease or id or ''}
end

-- request, charge (0 = release), message ('' = no need to keep it), keep_ms ('' = in the outbox),
-- tokens that were used ('' = nobody knows)
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
  if held.fields ~= '' then correct(held.fields, charge - amount, ARGV[7] or '') end
  redis.call('HDEL', KEYS[2], request)
  redis.call('ZREM', KEYS[3], request)
  return {'OK'}
end

return redis.error_reply('unknown operation ' .. op)
