-- KEYS    1 state, 2 probes, 3 seen, 4 failing, 5 force
-- ARGV    2 to: open, closed or auto; 3 its end in microseconds since 1970, 0 for none; 4 reason, 5 author, 6 channel, 7 name
-- RETURNS done or none; 0; forced, auto or ''; then as breaker_allow
-- TTL     the force's end; 366 days where none was given
-- LAW     laws/breaker_force.py
begin()
local to, ends = ARGV[2], tonumber(ARGV[3])
local epoch = state and state.e or 0
if ends == 0 then ends = now + 31622400000000 end
if to == 'auto' or ends <= now then
  redis.call('DEL', KEYS[5])
  if not force then return reply('none', 0, '') end
  force = nil
  tell(ARGV[6], ARGV[7], 'auto', epoch)
  return reply('done', 0, 'auto')
end
force = {to = to, ends = ends, reason = ARGV[4], author = ARGV[5]}
redis.call('HSET', KEYS[5], 'to', to, 'until', int(ends), 'reason', ARGV[4], 'author', ARGV[5], 't', int(now))
redis.call('PEXPIRE', KEYS[5], ttl_ms(ends - now))
tell(ARGV[6], ARGV[7], 'forced', epoch)
return reply('done', 0, 'forced')
