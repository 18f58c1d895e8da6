-- KEYS    1: lease, a hash: t token, x end of the lease, f fence
-- ARGV    2 token; 3 ttl: microseconds
-- RETURNS 1 held or 0 another's, fence, microseconds until it ends
-- TTL     a day after the end: a clock set back must still find the fence
-- LAW     laws/lock_acquire.py
local token, ttl = ARGV[2], tonumber(ARGV[3])
local now = now_us()
local state = redis.call('HMGET', KEYS[1], 't', 'x', 'f')
local ends, fence = tonumber(state[2] or 0), tonumber(state[3] or 0)
if state[1] and ends > now then
  if state[1] ~= token then return {0, 0, ends - now} end
  ends = math.max(ends, now + ttl)
else
  ends = now + ttl
  fence = math.max(fence + 1, now)
end
redis.call('HSET', KEYS[1], 't', token, 'x', int(ends), 'f', int(fence))
redis.call('PEXPIRE', KEYS[1], ttl_ms(ends - now + 86400000000))
return {1, fence, ends - now}
