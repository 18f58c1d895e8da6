-- KEYS    1: permits, a sorted set: permit id -> end of its lease; '!' is no permit but a drain
-- ARGV    2 how long nobody is admitted: microseconds; 0 ends a drain
-- RETURNS permits out
-- TTL     until the last lease and the drain end
-- LAW     laws/bulkhead_drain.py
local span = tonumber(ARGV[2])
local now = now_us()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', int(now))
redis.call('ZREM', KEYS[1], '!')
local out = redis.call('ZCARD', KEYS[1])
if span > 0 then
  redis.call('ZADD', KEYS[1], int(now + span), '!')
  local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
  redis.call('PEXPIRE', KEYS[1], ttl_ms(tonumber(last[2]) - now))
end
return {out}
