-- KEYS    1: gcra
-- ARGV    2 take, peek (writes nothing) or give (`want` tokens back); 3 want, 4 least: tokens; 5 p: units a token;
--         6 l: units a microsecond; 7 burst: tokens
-- RETURNS tokens granted (give: 1 if debt was lifted), tokens left, microseconds until `least` would be granted,
--         microseconds until as if never used
-- TTL     until the debt is paid
-- LAW     laws/gcra.py
local verb, want, least = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local p, l, burst = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local now = now_us()
local debt, rate, stamp = 0, l, now
local state = redis.call('GET', KEYS[1])
if state then
  local d, r, u = string.match(state, '^(%d+) (%d+) (%d+)$')
  debt, rate, stamp = tonumber(d), tonumber(r), tonumber(u)
end
now = math.max(now, stamp)
if rate ~= l then
  -- Past 2^53 the product would no longer be exact: there both languages stop.
  debt = math.min(math.floor(debt / rate) * l + math.ceil((debt % rate) * l / rate), 9007199254740991)
end
debt = math.max(0, debt - l * (now - stamp))

local function available() return math.max(0, math.floor((burst * p - debt) / p)) end
local function reset() return math.ceil(debt / l) end
local function save()
  redis.call('SET', KEYS[1], int(debt) .. ' ' .. int(l) .. ' ' .. int(now), 'PX', ttl_ms(reset()))
end

if verb == 'give' then
  local lifted = math.min(debt, want * p)
  if lifted == 0 then return {0, available(), 0, reset()} end
  debt = debt - lifted
  if debt == 0 then redis.call('DEL', KEYS[1]) else save() end
  return {1, available(), 0, reset()}
end
local granted = math.min(want, available())
if granted < least then return {0, available(), math.ceil((debt - (burst - least) * p) / l), reset()} end
if verb == 'take' then
  debt = debt + granted * p
  save()
end
return {granted, available(), 0, reset()}
