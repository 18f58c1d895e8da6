-- KEYS    1: lease, a hash: t token, x end of the lease, f fence
-- ARGV    2 token
-- RETURNS 1 it was held, 0 it had ended or is another's
-- TTL     a day: the fence stays
-- LAW     laws/lock_release.py
local now = now_us()
local state = redis.call('HMGET', KEYS[1], 't', 'x')
if state[1] ~= ARGV[2] then return {0} end
redis.call('HDEL', KEYS[1], 't', 'x')
redis.call('PEXPIRE', KEYS[1], ttl_ms(86400000000))
return {tonumber(state[2]) > now and 1 or 0}
