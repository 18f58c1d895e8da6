-- KEYS    1: gcra
-- ARGV    2 want, 3 least: tokens; 4 p: units a token; 5 l: units a microsecond; 6 burst: tokens
-- RETURNS granted, tokens left, microseconds until `least` would be granted, microseconds until as if never used
-- TTL     until the debt is paid
-- LAW     laws/gcra.py
local want, least = tonumber(ARGV[2]), tonumber(ARGV[3])
local p, l, burst = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local now = now_us()
local debt, rate, stamp = 0, l, now
local state = redis.call('GET', KEYS[1])
if state then
  local d, r, u = string.match(state, '^(%d+) (%d+) (%d+)$')
  debt, rate, stamp = tonumber(d), tonumber(r), tonumber(u)
end
now = math.max(now, stamp)
if rate ~= l then debt = math.floor(debt / rate) * l + math.ceil((debt % rate) * l / rate) end
debt = math.max(0, debt - l * (now - stamp))
local available = math.max(0, math.floor((burst * p - debt) / p))
local granted = math.min(want, available)
if granted < least then
  return {0, available, math.ceil((debt + least * p - burst * p) / l), math.ceil(debt / l)}
end
debt = debt + granted * p
local reset = math.ceil(debt / l)
redis.call('SET', KEYS[1], int(debt) .. ' ' .. int(l) .. ' ' .. int(now), 'PX', ttl_ms(reset))
return {granted, available - granted, 0, reset}
