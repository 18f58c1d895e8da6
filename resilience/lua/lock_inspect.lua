-- KEYS    1: lease, a hash: t token, x end of the lease, f fence
-- ARGV    none
-- RETURNS 1 held or 0 free, fence of the holder, microseconds until it ends, token
-- TTL     reads only
-- LAW     laws/lock_inspect.py
local now = now_us()
local state = redis.call('HMGET', KEYS[1], 't', 'x', 'f')
local ends, fence = tonumber(state[2] or 0), tonumber(state[3] or 0)
if state[1] and ends > now then return {1, fence, ends - now, state[1]} end
return {0, 0, 0, ''}
