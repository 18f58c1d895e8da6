-- KEYS    1: permits, a sorted set: permit id -> end of its lease
-- ARGV    2 permit id; 3 lease: microseconds
-- RETURNS 1 renewed or 0 gone, microseconds left
-- TTL     until the last lease ends
-- LAW     laws/bulkhead_renew.py
local lease = tonumber(ARGV[3])
local now = now_us()
local ends = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[2]) or 0)
if ends <= now then return {0, 0} end
redis.call('ZADD', KEYS[1], 'XX', 'GT', int(now + lease), ARGV[2])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIRE', KEYS[1], ttl_ms(tonumber(last[2]) - now))
return {1, math.max(ends, now + lease) - now}
