-- KEYS    1 state, 2 probes, 3 seen, 4 failing, 5 force
-- ARGV    2 window in microseconds
-- RETURNS seen; 0; ''; then as breaker_allow; then calls, failed and slow ones in the window, failures in a row, probes that
--         succeeded, that failed, that run; reporters seen, failing; since when closed or half-open, until when open
-- TTL     writes nothing
-- LAW     laws/breaker_peek.py
begin()
local said = reply('seen', 0, '')
local calls, failed, slowed, probes = 0, 0, 0, 0
local row, done, bad, since = 0, 0, 0, 0
if state then
  local index = math.floor(now / math.floor(tonumber(ARGV[2]) / 10))
  for _, text in ipairs(redis.call('HMGET', KEYS[1], 'b0', 'b1', 'b2', 'b3', 'b4', 'b5', 'b6', 'b7', 'b8', 'b9')) do
    if text then
      local i, n, f, w = string.match(text, '^(%d+) (%d+) (%d+) (%d+)$')
      i = tonumber(i)
      if index - 10 < i and i <= index then calls, failed, slowed = calls + n, failed + f, slowed + w end
    end
  end
  if state.s == 'H' then probes = live(KEYS[2]) end
  row, done, bad, since = state.k, state.done, state.bad, state.u
end
for _, figure in ipairs({calls, failed, slowed, row, done, bad, probes, live(KEYS[3]), live(KEYS[4]), since}) do
  said[#said + 1] = figure
end
return said
