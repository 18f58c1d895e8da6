-- KEYS    1: tb
-- ARGV    2 take, peek (writes nothing) or give (back); 3 n: tokens; 4 p: units a token; 5 l: units a microsecond; 6 burst: tokens
-- RETURNS 1 if admitted (give: if the level rose), tokens left, microseconds until n would be admitted,
--         microseconds until as if never used
-- TTL     until it is full
-- LAW     laws/token_bucket.py
local verb, n = ARGV[2], tonumber(ARGV[3])
local p, l, burst = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local now = now_us()
local full = burst * p
-- `fills`: the stamp at which it is full, by what was configured at the last write; from then on absent and present are one.
local level, fills = full, now
local state = redis.call('GET', KEYS[1])
if state then
  local v, unit, u, f = string.match(state, '^(%d+) (%d+) (%d+) (%d+)$')
  local stamp = tonumber(u)
  now, fills = math.max(now, stamp), tonumber(f)
  if now < fills then
    level, unit = tonumber(v), tonumber(unit)
    if unit ~= p then
      local whole, rest, part = math.floor(level / unit), level % unit, 0
      if whole >= burst then
        level = full
      else
        -- rest * p may pass 2^53: a long division, bit by bit, stays below three units.
        local factor, over = p, 0
        for exponent = 52, 0, -1 do
          part, over = part * 2, over * 2
          if factor >= 2 ^ exponent then factor, over = factor - 2 ^ exponent, over + rest end
          while over >= unit do part, over = part + 1, over - unit end
        end
        level = whole * p + part
      end
    end
    level = math.min(full, level + l * (now - stamp))
  end
end

local function reset() return math.max(0, math.min(math.ceil((full - level) / l), fills - now)) end
local function save()
  fills = now + math.ceil((full - level) / l)
  redis.call('SET', KEYS[1], int(level) .. ' ' .. int(p) .. ' ' .. int(now) .. ' ' .. int(fills), 'PX', ttl_ms(fills - now))
end

if verb == 'give' then
  local risen = math.min(full - level, n * p)
  if risen == 0 then return {0, math.floor(level / p), 0, reset()} end
  level = level + risen
  if level == full then redis.call('DEL', KEYS[1]) else save() end
  return {1, math.floor(level / p), 0, math.ceil((full - level) / l)}
end
if level < n * p then
  return {0, math.floor(level / p), math.min(math.ceil((n * p - level) / l), fills - now), reset()}
end
if verb == 'take' then
  level = level - n * p
  save()
end
return {1, math.floor(level / p), 0, reset()}
