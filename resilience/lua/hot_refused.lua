-- KEYS    1: refused, a sorted set: 'k' and a caller's key -> refusals; 't' -> when they were last halved
-- ARGV    2 how many to name; 3 how many to keep; 4 half-life: microseconds; 5 pairs; then key and refusals of each
-- RETURNS key and refusals of the most refused, most first, then by key
-- TTL     until every count is halved to nothing
-- LAW     laws/hot_refused.py
local want, keep, half, given_pairs = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local now = now_us()
local stamp = tonumber(redis.call('ZSCORE', KEYS[1], 't') or now)
now = math.max(now, stamp)
local halvings = math.floor((now - stamp) / half)
stamp = stamp + halvings * half
local counts = {}
local held = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #held, 2 do
  if held[i] ~= 't' then
    local count = math.floor(tonumber(held[i + 1]) / 2 ^ math.min(halvings, 60))
    if count > 0 then counts[held[i]] = count end
  end
end
-- As if the key had gone: it may have.
if next(counts) == nil then stamp = now end
for i = 6, 4 + 2 * given_pairs, 2 do
  local name = 'k' .. ARGV[i]
  counts[name] = (counts[name] or 0) + tonumber(ARGV[i + 1])
end
local names = {}
for name in pairs(counts) do names[#names + 1] = name end
table.sort(names, function(a, b)
  if counts[a] ~= counts[b] then return counts[a] > counts[b] end
  return a < b
end)
if given_pairs > 0 or halvings > 0 then
  redis.call('DEL', KEYS[1])
  if #names > 0 then
    for i = 1, math.min(keep, #names) do redis.call('ZADD', KEYS[1], int(counts[names[i]]), names[i]) end
    redis.call('ZADD', KEYS[1], int(stamp), 't')
    local lives, count = 1, counts[names[1]]
    while count > 1 do lives, count = lives + 1, math.floor(count / 2) end
    redis.call('PEXPIRE', KEYS[1], ttl_ms(lives * half))
  end
end
local reply = {}
for i = 1, math.min(want, keep, #names) do
  reply[#reply + 1] = string.sub(names[i], 2)
  reply[#reply + 1] = counts[names[i]]
end
return reply
