-- KEYS    1: lease, a hash: t token, x end of the lease, f fence
-- ARGV    2 token; 3 ttl: microseconds
-- RETURNS 1 renewed or 0 gone, microseconds until it ends
-- TTL     a day after the end
-- LAW     laws/lock_renew.py
local now = now_us()
local state = redis.call('HMGET', KEYS[1], 't', 'x')
local ends = tonumber(state[2] or 0)
if state[1] ~= ARGV[2] or ends <= now then return {0, 0} end
ends = math.max(ends, now + tonumber(ARGV[3]))
redis.call('HSET', KEYS[1], 'x', int(ends))
redis.call('PEXPIRE', KEYS[1], ttl_ms(ends - now + 86400000000))
return {1, ends - now}
