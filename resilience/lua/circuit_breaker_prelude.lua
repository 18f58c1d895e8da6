-- Stands in front of the breaker's operations, after prelude.lua. KEYS are the same for each:
--   1 state (hash: s state, e epoch, u until or since, o openings in a row, t stamp, x end by idleness, k failures in a row,
--     done and bad probes, b0..b9 buckets `index calls failed slow`), 2 probes (id -> lease end), 3 seen and 4 failing
--     (reporter -> end of its window), 5 force (hash)
-- LAW     laws/circuit_breaker_prelude.py
local HOUR_US, MAX_OPENINGS = 3600000000, 1000
local now = now_us()
local state, force

-- What still holds. An idle breaker's state ends by its stamp, whether the key is still there or not.
local function begin()
  local f = redis.call('HMGET', KEYS[5], 'to', 'until', 'reason', 'author', 't')
  if f[1] then
    force = {to = f[1], ends = tonumber(f[2]), reason = f[3], author = f[4]}
    now = math.max(now, tonumber(f[5]))
  end
  local h = redis.call('HMGET', KEYS[1], 's', 'e', 'u', 'o', 't', 'x', 'k', 'done', 'bad')
  if h[1] then
    now = math.max(now, tonumber(h[5]))
    if now < tonumber(h[6]) then
      state = {s = h[1], e = tonumber(h[2]), u = tonumber(h[3]), o = tonumber(h[4]), k = tonumber(h[7]),
               done = tonumber(h[8]), bad = tonumber(h[9])}
    end
  end
  if force and now >= force.ends then force = nil end
end

-- Writes the state whole, without buckets: those of an ended state must not come back with it.
local function renew(ends)
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 's', state.s, 'e', int(state.e), 'u', int(state.u), 'o', int(state.o), 't', int(now),
             'x', int(ends), 'k', '0', 'done', '0', 'bad', '0')
  redis.call('PEXPIRE', KEYS[1], ttl_ms(ends - now))
end

local function create()
  state = {s = 'C', e = now, u = now, o = 0, k = 0, done = 0, bad = 0}
  renew(now + HOUR_US)
end

local function purge(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', int(now))
end

-- After a member came or went: the key lives as long as its last member.
local function keep(key)
  local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
  if not last then return now end
  redis.call('PEXPIRE', key, ttl_ms(tonumber(last) - now))
  return tonumber(last)
end

-- Not purged by those who only look: a clock set back would find another answer than before.
local function live(key) return redis.call('ZCOUNT', key, '(' .. int(now), '+inf') end

-- Takes a probe back, if its lease still runs.
local function taken_back(probe)
  local ends = redis.call('ZSCORE', KEYS[2], probe)
  if not ends or tonumber(ends) <= now then return false end
  redis.call('ZREM', KEYS[2], probe)
  purge(KEYS[2])
  return true
end

-- To another state under a new epoch, all counts cleared. Who reported lately stays known: that is no count.
local function move(to, ends)
  state = {s = to, e = math.max(state.e + 1, now), u = ends, o = state.o, k = 0, done = 0, bad = 0}
  redis.call('DEL', KEYS[2], KEYS[4])
  renew(math.max(ends, now) + HOUR_US)
end

-- amount * thousandths / 1000, rounded down; in two steps, since one product would pass 2^53.
local function part(amount, thousandths)
  return math.floor(amount / 1000) * thousandths + math.floor(amount % 1000 * thousandths / 1000)
end

local function open_up(open_us, backoff, open_max, jitter)
  if state.s == 'C' and now - state.u >= 10 * open_us then state.o = 0 end
  local wait = math.min(open_us, open_max)
  if backoff > 1000 and state.o > 0 then
    for _ = 1, state.o do
      if wait >= open_max then break end
      wait = math.min(open_max, part(wait, backoff))
    end
    wait = math.min(open_max, wait + part(wait, jitter))
  end
  state.o = math.min(MAX_OPENINGS, state.o + 1)
  move('O', now + wait)
end

local function tell(channel, name, to, epoch)
  if channel ~= '' then
    redis.call('PUBLISH', channel,
               '{"type":"circuit_breaker","name":"' .. name .. '","to":"' .. to .. '","epoch":' .. int(epoch) .. '}')
  end
end

local function reply(answer, wait, moved)
  local s, e, left, o = 'C', 0, 0, 0
  if state then
    s, e, o = state.s, state.e, state.o
    if s == 'O' then left = math.max(0, state.u - now) end
  end
  if force then
    return {answer, wait, moved, s, e, left, o, force.to, force.ends - now, force.ends, force.reason, force.author}
  end
  return {answer, wait, moved, s, e, left, o, '', 0, 0, '', ''}
end
