-- KEYS    1 state, 2 probes, 3 seen, 4 failing, 5 force
-- ARGV    2 id of a probe, 3 its lease in microseconds, 4 permits, 5 channel ('' tells nobody), 6 name
-- RETURNS admit, probe, forced or refuse; microseconds until asking again makes sense; opened, half_opened, closed or '';
--         state C, O or H; epoch; microseconds left open; openings in a row; the force: open, closed or '', microseconds left,
--         its end, reason, author
-- TTL     an hour after the stamp, the end of an opening or the last lease; probes until the last lease
-- LAW     laws/breaker_allow.py
begin()
if force and force.to == 'open' then return reply('refuse', force.ends - now, '') end
if not state then create() end
if force then return reply('forced', 0, '') end
if state.s == 'C' then return reply('admit', 0, '') end
local permits, channel, name = tonumber(ARGV[4]), ARGV[5], ARGV[6]
local moved = ''
if state.s == 'O' then
  if now < state.u then return reply('refuse', state.u - now, '') end
  moved = 'half_opened'
  move('H', now)
  tell(channel, name, moved, state.e)
end
if state.done >= permits then
  move('C', now)
  tell(channel, name, 'closed', state.e)
  return reply('admit', 0, 'closed')
end
if live(KEYS[2]) + state.done >= permits then
  local first = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. int(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return reply('refuse', tonumber(first[2]) - now, moved)
end
purge(KEYS[2])
redis.call('ZADD', KEYS[2], int(now + tonumber(ARGV[3])), ARGV[2])
local ends = keep(KEYS[2]) + HOUR_US
redis.call('HSET', KEYS[1], 't', int(now), 'x', int(ends))
redis.call('PEXPIRE', KEYS[1], ttl_ms(ends - now))
return reply('probe', 0, moved)
