-- One limit of one caller, counted once per call: addresses, sign-ins, coupon codes.
-- KEYS 1 limit:{kind:hash}   a string: tat of a rate in µs, or the count of a window
-- ARGV 1 op, 2 now_ms (0 = the server's clock; set by tests and the simulation only), 3 limit,
--      4 period_ms, 5 how many calls this one tells of (rate), or 0 to count none (window, day)
--   rate    GCRA: a bucket of `limit` that refills evenly within period_ms. Of several calls all but
--           the last were let in already: they count whatever is left.
--   window  at most `limit` from the first call on until period_ms are over
--   day     at most `limit` in a UTC day; KEYS[1] is the same every day
-- {1 allowed or 0, remaining, reset_ms until all is there again, retry_ms until one more is}
-- Only durations cross the wire, so the clock of no caller decides anything (D14).
local op, now = ARGV[1], tonumber(ARGV[2])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local limit, period = tonumber(ARGV[3]), tonumber(ARGV[4])
local function int(n) return string.format('%.0f', n) end

if op == 'rate' then
  local now_us, span = now * 1000, period * 1000
  local step = math.floor(span / limit)
  local tat = math.max(now_us, tonumber(redis.call('GET', KEYS[1]) or '0'))
  local calls = tonumber(ARGV[5] or '1')
  tat = math.min(tat + step * (calls - 1), math.max(tat, now_us + span))
  local ahead = tat + step - now_us
  if ahead > span then
    if calls > 1 then
      redis.call('SET', KEYS[1], int(tat), 'PX', int(math.max(1, math.ceil((tat - now_us) / 1000))))
    end
    return {0, 0, int(math.ceil((tat - now_us) / 1000)), int(math.ceil((ahead - span) / 1000))}
  end
  redis.call('SET', KEYS[1], int(tat + step), 'PX', int(math.max(1, math.ceil(ahead / 1000))))
  return {1, int(math.floor((span - ahead) / step)), int(math.ceil(ahead / 1000)), '0'}
end

-- A window's value is its count and its end, so that its life does not hang on the key's alone.
local count, fin = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)$')
count, fin = tonumber(count or '0'), tonumber(fin or '0')
if fin <= now then
  count = 0
  fin = op == 'day' and (math.floor(now / 86400000) + 1) * 86400000 or now + period
end
if count >= limit then return {0, 0, int(fin - now), int(fin - now)} end
if ARGV[5] == '0' then return {1, int(limit - count), int(fin - now), '0'} end
redis.call('SET', KEYS[1], int(count + 1) .. ' ' .. int(fin), 'PX', int(fin - now))
return {1, int(limit - count - 1), int(fin - now), '0'}
