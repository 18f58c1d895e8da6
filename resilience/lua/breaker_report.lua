-- KEYS    1 state, 2 probes, 3 seen, 4 failing, 5 force
-- ARGV    2 id of the probe or '', 3 who reports, 4 channel, 5 name; 6 epoch the calls were made in; calls: 7 ok, 8 failed,
--         9 slow (of both kinds), 10 failed since the last ok; 11 permits, 12 failed probes that open, 13 window in microseconds,
--         14 minimum of calls, 15 ratio of failures, 16 of slow ones, in parts of a million, 17 failures in a row (0: no matter),
--         18 quorum, 19 time open in microseconds, 20 backoff in thousandths, 21 longest time open, 22 jitter in thousandths
-- RETURNS counted, late, neutral or solo; 0; opened, closed or ''; then as breaker_allow
-- TTL     an hour after the stamp, or a window; seen and failing until the last window ends
-- LAW     laws/breaker_report.py
local probe, who, channel, name = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local ok, bad, slow = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
begin()
if not state then create() end
if ok + bad == 0 then
  if taken_back(probe) then keep(KEYS[2]) end
  return reply('neutral', 0, '')
end
if tonumber(ARGV[6]) ~= state.e or state.s == 'O' then return reply('late', 0, '') end
local window = tonumber(ARGV[13])

local function open()
  open_up(tonumber(ARGV[19]), tonumber(ARGV[20]), tonumber(ARGV[21]), tonumber(ARGV[22]))
end

if state.s == 'H' then
  if not taken_back(probe) then return reply('late', 0, '') end
  local last = keep(KEYS[2])
  local moved = ''
  if bad + slow > 0 then
    state.bad = state.bad + 1
    if state.bad >= tonumber(ARGV[12]) then
      open()
      moved = 'opened'
    end
  else
    state.done = state.done + 1
    if state.done >= tonumber(ARGV[11]) then
      move('C', now)
      moved = 'closed'
    end
  end
  if moved ~= '' then
    tell(channel, name, moved, state.e)
  else
    local ends = last + HOUR_US
    redis.call('HSET', KEYS[1], 't', int(now), 'x', int(ends), 'done', int(state.done), 'bad', int(state.bad))
    redis.call('PEXPIRE', KEYS[1], ttl_ms(ends - now))
  end
  return reply('counted', 0, moved)
end

local function bucket(text)
  if not text then return 0, 0, 0, 0 end
  local i, n, f, w = string.match(text, '^(%d+) (%d+) (%d+) (%d+)$')
  return tonumber(i), tonumber(n), tonumber(f), tonumber(w)
end

local index = math.floor(now / math.floor(window / 10))
local field = 'b' .. int(index % 10)
local at, calls, failed, slowed = bucket(redis.call('HGET', KEYS[1], field))
if at ~= index then calls, failed, slowed = 0, 0, 0 end
local row = ok > 0 and tonumber(ARGV[10]) or state.k + bad
local ends = now + math.max(HOUR_US, window)
redis.call('HSET', KEYS[1], 't', int(now), 'x', int(ends), 'k', int(row), field,
           int(index) .. ' ' .. int(calls + ok + bad) .. ' ' .. int(failed + bad) .. ' ' .. int(slowed + slow))
redis.call('PEXPIRE', KEYS[1], ttl_ms(ends - now))
purge(KEYS[3])
redis.call('ZADD', KEYS[3], int(now + window), who)
keep(KEYS[3])
if bad + slow == 0 then return reply('counted', 0, '') end
purge(KEYS[4])
redis.call('ZADD', KEYS[4], int(now + window), who)
keep(KEYS[4])
calls, failed, slowed = 0, 0, 0
local buckets = redis.call('HMGET', KEYS[1], 'b0', 'b1', 'b2', 'b3', 'b4', 'b5', 'b6', 'b7', 'b8', 'b9')
for _, text in ipairs(buckets) do
  local i, n, f, w = bucket(text)
  if index - 10 < i and i <= index then calls, failed, slowed = calls + n, failed + f, slowed + w end
end
local often = calls >= tonumber(ARGV[14])
  and (failed * 1000000 >= tonumber(ARGV[15]) * calls or slowed * 1000000 >= tonumber(ARGV[16]) * calls)
local consecutive = tonumber(ARGV[17])
if not often and not (consecutive > 0 and row >= consecutive) then return reply('counted', 0, '') end
local failing, seen = redis.call('ZCARD', KEYS[4]), redis.call('ZCARD', KEYS[3])
if failing < tonumber(ARGV[18]) and 2 * failing < seen then return reply('solo', 0, '') end
open()
tell(channel, name, 'opened', state.e)
return reply('counted', 0, 'opened')
