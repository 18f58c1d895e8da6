-- KEYS    1: sc
-- ARGV    2 take, peek (writes nothing) or give (back); 3 n: calls; 4 limit; 5 period: microseconds;
--         6, 7 (give) index and length of the period that n was counted in
-- RETURNS 1 if admitted (give: if n was taken back), calls left, microseconds until n would be admitted,
--         microseconds until as if never used, index of the period
-- TTL     until the period after this one ends
-- LAW     laws/sliding_window.py
local verb, n, limit, period = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local now = now_us()
local count, before, forgotten, given_back = 0, 0, nil, 0
local state = redis.call('GET', KEYS[1])
if state then
  local a, b, d, e, f = string.match(state, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  local index, c, q, of, stamp = tonumber(a), tonumber(b), tonumber(d), tonumber(e), tonumber(f)
  now = math.max(now, stamp)
  forgotten = (index + 2) * of
  if now >= forgotten then
    forgotten = nil
  else
    if verb == 'give' and tonumber(ARGV[7]) == of then
      if tonumber(ARGV[6]) == index then
        given_back = math.min(c, n)
        c = c - given_back
      elseif tonumber(ARGV[6]) == index - 1 then
        given_back = math.min(q, n)
        q = q - given_back
      end
      if given_back > 0 and c + q == 0 then
        redis.call('DEL', KEYS[1])
        forgotten = nil
      elseif given_back > 0 then
        local left = int(index) .. ' ' .. int(c) .. ' ' .. int(q) .. ' ' .. int(of) .. ' ' .. int(stamp)
        redis.call('SET', KEYS[1], left, 'PX', ttl_ms(forgotten - now))
      end
    end
    if of ~= period then
      -- Of counts by periods of another length only this is known: c were admitted by `stamp`, q before their period
      -- began. Each is placed as late as it can have been.
      local early = math.floor((index * of - 1) / period)
      index = math.floor(stamp / period)
      if early == index then
        c, q = c + q, 0
      elseif early < index - 1 then
        q = 0
      end
    end
    local periods = math.floor(now / period) - index
    if periods == 0 then count, before = c, q elseif periods == 1 then before = c end
    -- More than this many would take products past 2^53; no limit over this period can be so high.
    local most = math.floor(9007199254740991 / period)
    count, before = math.min(count, most), math.min(before, most)
  end
end
local index = math.floor(now / period)
local rest = (index + 1) * period - now

local function within(us) return forgotten and math.min(us, forgotten - now) or us end
local function reply(admitted, retry)
  local reset = count > 0 and rest + period or before > 0 and rest or 0
  return {admitted, math.max(0, limit - count - math.ceil(before * rest / period)), within(retry), within(reset), index}
end

if verb == 'give' then return reply(given_back > 0 and 1 or 0, 0) end
local free = limit - count - n
if free < 0 then return reply(0, rest + math.ceil(-free * period / count)) end
if before * rest > free * period then return reply(0, rest - math.floor(free * period / before)) end
if verb == 'take' then
  count, forgotten = count + n, (index + 2) * period
  local new = int(index) .. ' ' .. int(count) .. ' ' .. int(before) .. ' ' .. int(period) .. ' ' .. int(now)
  redis.call('SET', KEYS[1], new, 'PX', ttl_ms(forgotten - now))
end
return reply(1, 0)
