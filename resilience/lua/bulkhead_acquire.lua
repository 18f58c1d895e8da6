-- KEYS    1: permits, a sorted set: permit id -> end of its lease; '!' is no permit but a drain
-- ARGV    2 permit id; 3 limit; 4 lease: microseconds
-- RETURNS 1 admitted or 0 refused, permits out, microseconds until one more would be admitted
-- TTL     until the last lease ends
-- LAW     laws/bulkhead_acquire.py
local limit, lease = tonumber(ARGV[3]), tonumber(ARGV[4])
local now = now_us()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', int(now))
local out = redis.call('ZCARD', KEYS[1])
local drained = redis.call('ZSCORE', KEYS[1], '!')
if drained then return {0, out - 1, tonumber(drained) - now} end
if out >= limit then
  local next = redis.call('ZRANGE', KEYS[1], out - limit, out - limit, 'WITHSCORES')
  return {0, out, tonumber(next[2]) - now}
end
out = out + redis.call('ZADD', KEYS[1], int(now + lease), ARGV[2])
-- Leases may differ after a change: the key lives as long as the longest.
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIRE', KEYS[1], ttl_ms(tonumber(last[2]) - now))
return {1, out, 0}
