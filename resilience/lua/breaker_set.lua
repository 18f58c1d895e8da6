-- KEYS    1 state, 2 probes, 3 seen, 4 failing, 5 force
-- ARGV    2 to: open or closed; 3 channel, 4 name; 5 time open in microseconds, 6 backoff, 7 longest time open, 8 jitter
-- RETURNS done or none; 0; opened, closed or ''; then as breaker_allow
-- TTL     an hour after the stamp or the end of the opening
-- LAW     laws/breaker_set.py
begin()
local moved
if ARGV[2] == 'open' then
  if state and state.s == 'O' then return reply('none', 0, '') end
  if not state then create() end
  open_up(tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]))
  moved = 'opened'
else
  if not state then return reply('none', 0, '') end
  move('C', now)
  moved = 'closed'
end
tell(ARGV[3], ARGV[4], moved, state.e)
return reply('done', 0, moved)
