-- KEYS    1: lease, a hash: t token, x end of the lease, f fence
-- ARGV    none
-- RETURNS 1 it was held or 0 free, fence of the holder, microseconds it had left, token
-- TTL     a day: the fence stays
-- LAW     laws/lock_break.py
local now = now_us()
local state = redis.call('HMGET', KEYS[1], 't', 'x', 'f')
local ends, fence = tonumber(state[2] or 0), tonumber(state[3] or 0)
if not state[1] then return {0, 0, 0, ''} end
redis.call('HDEL', KEYS[1], 't', 'x')
redis.call('PEXPIRE', KEYS[1], ttl_ms(86400000000))
if ends <= now then return {0, 0, 0, ''} end
return {1, fence, ends - now, state[1]}
