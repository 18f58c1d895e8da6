-- Stands in front of every operation. ARGV[1] is always `given`: 0, or a test's own microseconds.
local given = tonumber(ARGV[1])

-- The server's clock, shared by all processes. Microseconds since 1970, below 2^53. One time in one script: not every server
-- holds it still, and a rule that is asked twice would answer by two clocks.
local at = given > 0 and given or nil
local function now_us()
  if not at then
    local t = redis.call('TIME')
    at = t[1] * 1000000 + t[2]
  end
  return at
end

-- `x .. ''` keeps 14 digits of a number; a stamp has 16.
local function int(x) return string.format('%.0f', x) end

-- Milliseconds after which a key that stands for nothing may go. A test's clock stands still while the server's runs: an hour more.
local function ttl_ms(us)
  local ms = math.ceil(us / 1000) + 1
  if given > 0 then ms = ms + 3600000 end
  return int(ms)
end
