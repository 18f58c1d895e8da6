-- KEYS    1: permits, a sorted set: permit id -> end of its lease; '!' is no permit but a drain
-- ARGV    2 how many holders to name
-- RETURNS permits out, microseconds a drain goes on, then id and microseconds left of each, the first to end first
-- TTL     reads only
-- LAW     laws/bulkhead_inspect.py
local most = tonumber(ARGV[2])
local now = now_us()
local live = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. int(now), '+inf', 'WITHSCORES')
local out, drained, reply = 0, 0, {0, 0}
for i = 1, #live, 2 do
  local left = tonumber(live[i + 1]) - now
  if live[i] == '!' then
    drained = left
  else
    out = out + 1
    if out <= most then
      reply[#reply + 1] = live[i]
      reply[#reply + 1] = left
    end
  end
end
reply[1], reply[2] = out, drained
return reply
