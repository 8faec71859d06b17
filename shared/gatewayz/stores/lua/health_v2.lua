-- The health of offers and providers, shared by all processes: breakers, cool-downs, rolling
-- figures of real traffic, and the offers that conversations are pinned to. All in one slot.
-- KEYS  for each scope two: its breaker (a row of 24 integers as text) and its figures (a hash of
--       minute:kind:bucket -> count); then, if ARGV[4] is not '', the pin of a conversation
-- ARGV  1 now_ms (0 = the server's clock; set by the simulation only), 2 jitter 0-999,
--       3 number of scopes, 4 'get', 'set' or '', 5 pin's value, 6 its life in ms,
--       then the events of each scope, separated by blanks
-- Only durations cross the wire. The transition is routing/breaker.py, line by line; a changed
-- meaning gets a new file name, so that two versions of the code can run (F22).
local now, jitter, count = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local FAILS, OPENED, UNTIL, PROBE, CLOSED_AT, OUTAGE = 1, 2, 3, 4, 5, 6
local COOL, HIDDEN, LOW, SHAKY, SHOOK, SLOT = 7, 8, 9, 10, 11, 12
local REQUESTS, ERRORS, SIZE, SLOTS, SLOT_MS = 13, 19, 24, 6, 10000
local KEEP_MS = 86400000        -- a breaker nobody asked for in a day is closed
local MINUTES = 5

local function int(n) return string.format('%.0f', n) end

local function sum(row, first)
  local total = 0
  for i = first, first + SLOTS - 1 do total = total + row[i] end
  return total
end

local function advance(row)
  local slot = math.floor(now / SLOT_MS)
  local steps = math.min(math.max(slot - row[SLOT], 0), SLOTS)
  if steps == 0 then return end
  for _, first in ipairs({REQUESTS, ERRORS}) do
    for i = SLOTS - 1, 0, -1 do
      row[first + i] = i >= steps and row[first + i - steps] or 0
    end
  end
  row[SLOT] = slot
end

local function close(row)
  if row[UNTIL] > 0 then row[CLOSED_AT] = now end
  row[UNTIL], row[PROBE], row[FAILS] = 0, 0, 0
  if row[HIDDEN] == 1 then row[HIDDEN] = 0 end
end

local function open(row)
  local quiet = row[CLOSED_AT] > 0 and row[CLOSED_AT] + 300000 <= now
  row[OPENED] = quiet and 1 or row[OPENED] + 1
  local length = math.min(30000 * row[OPENED], 300000)
  local permille = 900 + math.floor(jitter * 100 / 500)
  row[UNTIL] = now + math.min(math.floor(length * permille / 1000), 300000)
  row[FAILS], row[PROBE], row[CLOSED_AT] = 0, 0, 0
  row[OUTAGE] = now
  for i = REQUESTS, REQUESTS + 2 * SLOTS - 1 do row[i] = 0 end
end

local function fail(row)
  row[REQUESTS], row[ERRORS] = row[REQUESTS] + 1, row[ERRORS] + 1
  if row[UNTIL] > now then return end
  row[FAILS] = row[FAILS] + 1
  if row[FAILS] >= 3 then row[OUTAGE] = now end
  local requests, errors = sum(row, REQUESTS), sum(row, ERRORS)
  local enough = requests >= 20
  if row[UNTIL] > 0 or row[FAILS] >= 5 or (enough and errors * 2 >= requests) then
    open(row)
  elseif enough and errors * 10 >= requests and row[SHAKY] <= now then
    local quiet = row[SHAKY] + 300000 < now
    row[SHOOK] = quiet and 1 or math.min(row[SHOOK] + 1, 5)
    row[SHAKY] = now + 60000 * row[SHOOK]
  end
end

local function apply(row, kind, n)
  advance(row)
  if kind == 's' then
    row[REQUESTS] = row[REQUESTS] + n
    row[FAILS] = 0
    if row[HIDDEN] == 1 then row[HIDDEN] = 0 end
    if row[UNTIL] > 0 and row[UNTIL] <= now then close(row) end
  elseif kind == 'y' then
    row[REQUESTS] = row[REQUESTS] + 1
    close(row)
  elseif kind == 'r' then
    close(row)
    row[COOL], row[SHAKY] = 0, 0
  elseif kind == 'f' then fail(row)
  elseif kind == 'o' then open(row)
  elseif kind == 'c' then row[COOL] = math.max(row[COOL], now + math.min(n, 300000))
  elseif kind == 'p' then
    if row[UNTIL] > 0 and row[UNTIL] <= now and row[PROBE] <= now then
      row[PROBE] = now + 30000
      return true
    end
  elseif kind == 'x' then row[PROBE] = 0
  elseif kind == 'L' then row[LOW] = n > 0 and now + n or 0
  elseif kind == 'H' then
    if n ~= 1 or row[HIDDEN] ~= 2 then row[HIDDEN] = n end
  end
  return false
end

local minute = math.floor(now / 60000)

local function figures(key)
  local all, sums, old = redis.call('HGETALL', key), {}, {}
  for i = 1, #all, 2 do
    local at, kind = string.match(all[i], '^(%d+):(.*)$')
    if tonumber(at) <= minute - MINUTES then old[#old + 1] = all[i]
    else sums[kind] = (sums[kind] or 0) + tonumber(all[i + 1]) end
  end
  if #old > 0 then redis.call('HDEL', key, unpack(old)) end
  local out = {}
  for kind, n in pairs(sums) do out[#out + 1] = kind .. ':' .. int(n) end
  return table.concat(out, ' ')
end

local function left(at) return int(math.max(at - now, 0)) end

local reply = {}
for i = 1, count do
  local key, seen, events = KEYS[2 * i - 1], KEYS[2 * i], ARGV[6 + i]
  local text = redis.call('GET', key)
  local row = {}
  if text then
    for n in string.gmatch(text, '%S+') do row[#row + 1] = tonumber(n) end
  end
  for j = #row + 1, SIZE do row[j] = 0 end
  local granted, wanted, changed, counted = false, false, false, false
  for event in string.gmatch(events, '%S+') do
    local kind, rest = string.sub(event, 1, 1), string.sub(event, 2)
    if kind == '?' then wanted = true
    elseif kind == 'l' or kind == 't' or kind == 'v' then -- bucket:count
      local bucket, n = string.match(rest, '^(%d+):(%d+)$')
      redis.call('HINCRBY', seen, int(minute) .. ':' .. kind .. bucket, n)
      counted = true
    else
      granted = apply(row, kind, tonumber(rest) or 0) or granted
      changed = true
    end
  end
  advance(row)
  if changed then
    local parts = {}
    for j = 1, SIZE do parts[j] = int(row[j]) end
    redis.call('SET', key, table.concat(parts, ' '), 'PX', row[HIDDEN] > 0 and 30 * KEEP_MS or KEEP_MS)
  end
  if counted then redis.call('EXPIRE', seen, 60 * (MINUTES + 1)) end
  reply[#reply + 1] = table.concat({
    int(row[FAILS]), int(row[OPENED]), row[UNTIL] > 0 and int(math.max(row[UNTIL] - now, 0)) or '-1',
    left(row[PROBE]), row[OUTAGE] > 0 and int(now - row[OUTAGE]) or '-1', left(row[COOL]),
    int(row[HIDDEN]), left(row[LOW]), left(row[SHAKY]), int(sum(row, REQUESTS)),
    int(sum(row, ERRORS)), granted and '1' or '0'}, ' ')
  reply[#reply + 1] = wanted and figures(seen) or ''
end

if ARGV[4] == 'get' then reply[#reply + 1] = redis.call('GET', KEYS[2 * count + 1]) or ''
elseif ARGV[4] == 'set' then
  redis.call('SET', KEYS[2 * count + 1], ARGV[5], 'PX', ARGV[6])
  reply[#reply + 1] = ARGV[5]
end
return reply
