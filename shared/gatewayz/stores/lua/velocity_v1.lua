-- Velocity mode: when too much of what we answer is our own failure, limits shrink for a while, for
-- all instances at once: first of callers without a key, then of those with one.
-- KEYS 1 velocity  a hash: r<slot>, e<slot> of the last minute; stage, until, since
-- ARGV 1 op, 2 now_ms (0 = the server's clock; set by tests and the simulation only),
--      3 requests, 4 failures of ours since the last report
--   report  adds them and judges: 25 % of at least 100 within 60 s trips; again while tripped, by
--           requests that came since, goes on to the next stage. Each time for 180 s.
--   read    judges nothing      reset  back to normal
-- {stage 0-2, ms left, 1 if this call tripped it, requests and failures of the last minute}
local op, now = ARGV[1], tonumber(ARGV[2])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local SLOT_MS, SLOTS, LAST_MS, ENOUGH = 10000, 6, 180000, 100
local function int(n) return string.format('%.0f', n) end
local function num(v) return tonumber(v or '0') end

if op == 'reset' then redis.call('DEL', KEYS[1]) end
local slot = math.floor(now / SLOT_MS)
if op == 'report' then
  redis.call('HINCRBY', KEYS[1], 'r' .. int(slot), ARGV[3])
  redis.call('HINCRBY', KEYS[1], 'e' .. int(slot), ARGV[4])
  redis.call('PEXPIRE', KEYS[1], LAST_MS * 2)
end
local all, row = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do row[all[i]] = all[i + 1] end
local stage, fin, since = num(row.stage), num(row['until']), num(row.since)
if fin <= now then stage = 0 end
local requests, failures, judged, judged_failures = 0, 0, 0, 0
for name, count in pairs(row) do
  local kind, at = string.match(name, '^([re])(%d+)$')
  at = tonumber(at)
  if kind and at <= slot - SLOTS then
    redis.call('HDEL', KEYS[1], name)
  elseif kind then
    local counts = (stage == 0 or at > since) and tonumber(count) or 0
    if kind == 'r' then
      requests, judged = requests + tonumber(count), judged + counts
    else
      failures, judged_failures = failures + tonumber(count), judged_failures + counts
    end
  end
end
local tripped = 0
if op == 'report' and judged >= ENOUGH and judged_failures * 4 >= judged then
  tripped = 1
  stage = math.min(2, stage + 1)
  fin = now + LAST_MS
  redis.call('HSET', KEYS[1], 'stage', stage, 'until', int(fin), 'since', int(slot))
end
return {stage, int(math.max(0, fin - now)), tripped, int(requests), int(failures)}
