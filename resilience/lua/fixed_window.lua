-- KEYS    1: fw
-- ARGV    2 take, peek (writes nothing) or give (back); 3 n: calls; 4 limit; 5 period: microseconds; 6 aligned: 1 or 0;
--         7 (give) the start of the window that n was counted in
-- RETURNS 1 if admitted (give: if n was taken back), calls left, microseconds until n would be admitted,
--         microseconds until as if never used, start of the window
-- TTL     until the window ends
-- LAW     laws/fixed_window.py
local verb, n, limit = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local period, aligned = tonumber(ARGV[5]), ARGV[6] == '1'
local now = now_us()
local start, count, ends
local state = redis.call('GET', KEYS[1])
if state then
  local s, c, e = string.match(state, '^(%d+) (%d+) (%d+)$')
  start, count, ends = tonumber(s), tonumber(c), tonumber(e)
  now = math.max(now, start)
  -- A new period may end the window sooner, never later: it has been told when it ends, and its key goes then.
  ends = math.min(ends, (aligned and start - start % period or start) + period)
end
if not state or now >= ends then
  start, count = aligned and now - now % period or now, 0
  ends = start + period
end

local function reply(admitted, retry)
  return {admitted, math.max(0, limit - count), retry, count > 0 and ends - now or 0, start}
end
local function save()
  redis.call('SET', KEYS[1], int(start) .. ' ' .. int(count) .. ' ' .. int(ends), 'PX', ttl_ms(ends - now))
end

if verb == 'give' then
  local back = tonumber(ARGV[7]) == start and math.min(count, n) or 0
  if back == 0 then return reply(0, 0) end
  count = count - back
  if count == 0 then redis.call('DEL', KEYS[1]) else save() end
  return reply(1, 0)
end
if count + n > limit then return reply(0, ends - now) end
if verb == 'take' then
  count = count + n
  save()
end
return reply(1, 0)
