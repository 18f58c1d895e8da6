-- KEYS    1: sl, a sorted set: score = stamp, member = stamp:number:period
-- ARGV    2 take, peek (writes nothing) or give (back); 3 n: calls; 4 limit; 5 period: microseconds;
--         6, 7, 8 (give) stamp, first number and period of the calls to take back
-- RETURNS 1 if admitted (give: if any was still there), calls left, microseconds until n would be admitted,
--         microseconds until as if never used, stamp, first number
-- TTL     until the youngest call no longer counts
-- LAW     laws/sliding_log.py
local verb, n, limit, period = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local now = now_us()
-- Calls of one microsecond are numbered; the width keeps their members in order.
local function member(stamp, number, of) return int(stamp) .. ':' .. string.format('%09.0f', number) .. ':' .. int(of) end

local last, number, ends, live = now, 0, now, 0
local youngest = redis.call('ZRANGE', KEYS[1], -1, -1)[1]
if youngest then
  local t, k, of = string.match(youngest, '^(%d+):(%d+):(%d+)$')
  last = tonumber(t)
  now = math.max(now, last)
  if now == last then number = tonumber(k) + 1 end
  -- By the period at the last write the log is forgotten from here on, whether its key has gone yet or not.
  ends = last + math.min(period, tonumber(of))
  if now < last + tonumber(of) then live = redis.call('ZCOUNT', KEYS[1], '(' .. int(now - period), '+inf') end
end

local function reply(admitted, retry)
  return {admitted, math.max(0, limit - live), retry, live > 0 and ends - now or 0, now, number}
end

if verb == 'give' then
  if live == 0 or tonumber(ARGV[6]) <= now - period then return reply(0, 0) end
  local back = {}
  for index = 0, n - 1 do
    back[#back + 1] = member(tonumber(ARGV[6]), tonumber(ARGV[7]) + index, tonumber(ARGV[8]))
  end
  local gone = redis.call('ZREM', KEYS[1], unpack(back))
  live = live - gone
  local left = redis.call('ZRANGE', KEYS[1], -1, -1)[1]
  if left then
    local t, of = string.match(left, '^(%d+):%d+:(%d+)$')
    ends = tonumber(t) + math.min(period, tonumber(of))
    if now < tonumber(t) + tonumber(of) then
      redis.call('PEXPIRE', KEYS[1], ttl_ms(tonumber(t) + tonumber(of) - now))
    else
      redis.call('DEL', KEYS[1])
      live = 0
    end
  end
  return reply(gone > 0 and 1 or 0, 0)
end
if live + n > limit then
  local leaves = redis.call('ZRANGE', KEYS[1], '(' .. int(now - period), '+inf', 'BYSCORE', 'LIMIT', live + n - limit - 1, 1)[1]
  local stamp = tonumber(string.match(leaves, '^(%d+):'))
  return reply(0, math.min(stamp + period, ends) - now)
end
if verb == 'take' then
  if live == 0 then
    redis.call('DEL', KEYS[1])
  else
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', int(now - period))
  end
  local new = {}
  for index = 0, n - 1 do
    new[#new + 1] = int(now)
    new[#new + 1] = member(now, number + index, period)
  end
  redis.call('ZADD', KEYS[1], unpack(new))
  redis.call('PEXPIRE', KEYS[1], ttl_ms(period))
  live, ends = live + n, now + period
end
return reply(1, 0)
