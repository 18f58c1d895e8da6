-- KEYS    1: config
-- ARGV    2 node, empty to ask only; 3 lease: microseconds this report counts; 4 epoch; 5 version; 6 detail
-- RETURNS node, epoch, version, age in microseconds, detail; for each live node, by name
-- TTL     until the last report has run out
-- LAW     laws/config_seen.py
local node, lease, now = ARGV[2], tonumber(ARGV[3]), now_us()
local live, last = {}, 0
local held = redis.call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
  local ends, at, epoch, version, detail = string.match(held[i + 1], '^(%d+) (%d+) (%d+) (%d+) (.*)$')
  if ends and tonumber(ends) > now and held[i] ~= node then
    live[held[i]] = {tonumber(epoch), tonumber(version), math.max(0, now - tonumber(at)), detail}
    last = math.max(last, tonumber(ends))
  elseif node ~= '' then
    redis.call('HDEL', KEYS[1], held[i])
  end
end
if node ~= '' then
  local epoch, version = tonumber(ARGV[4]), tonumber(ARGV[5])
  last = math.max(last, now + lease)
  redis.call('HSET', KEYS[1], node, table.concat({int(now + lease), int(now), int(epoch), int(version), ARGV[6]}, ' '))
  redis.call('PEXPIRE', KEYS[1], ttl_ms(last - now))
  live[node] = {epoch, version, 0, ARGV[6]}
elseif next(live) == nil then
  redis.call('DEL', KEYS[1])
end
local names, reply = {}, {}
for name in pairs(live) do names[#names + 1] = name end
table.sort(names)
for _, name in ipairs(names) do
  reply[#reply + 1] = name
  for i = 1, 4 do reply[#reply + 1] = live[name][i] end
end
return reply
