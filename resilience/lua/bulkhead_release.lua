-- KEYS    1: permits, a sorted set: permit id -> end of its lease
-- ARGV    2 permit id
-- RETURNS 1 it was live, 0 its lease had ended
-- TTL     unchanged: until the last lease ends
-- LAW     laws/bulkhead_release.py
local now = now_us()
local ends = redis.call('ZSCORE', KEYS[1], ARGV[2])
if not ends then return {0} end
redis.call('ZREM', KEYS[1], ARGV[2])
return {tonumber(ends) > now and 1 or 0}
