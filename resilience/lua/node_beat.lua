-- KEYS    1: live, a sorted set: node -> end of its lease
-- ARGV    2 node, empty to ask only; 3 lease: microseconds, 0 to leave
-- RETURNS nodes alive
-- TTL     until the last lease ends
-- LAW     laws/node_beat.py
local lease, now = tonumber(ARGV[3]), now_us()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', int(now))
if ARGV[2] ~= '' then
  if lease > 0 then
    redis.call('ZADD', KEYS[1], int(now + lease), ARGV[2])
  else
    redis.call('ZREM', KEYS[1], ARGV[2])
  end
end
-- Another node's lease may be longer, the longest may have left: the key stays as long as the last of them.
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
if last then redis.call('PEXPIRE', KEYS[1], ttl_ms(tonumber(last) - now)) end
return {redis.call('ZCARD', KEYS[1])}
