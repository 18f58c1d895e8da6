-- KEYS    1: config
-- ARGV    2 node, empty to ask only; 3 lease: microseconds a report counts; 4 epoch; 5 version; 6 detail
-- RETURNS node, epoch, version, age in microseconds, detail; for each live node, by name
-- TTL     one lease
-- LAW     laws/config_seen.py
local lease, now = tonumber(ARGV[3]), now_us()
local live = {}
local held = redis.call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
  local at, epoch, version, detail = string.match(held[i + 1], '^(%d+) (%d+) (%d+) (.*)$')
  if at and tonumber(at) + lease > now then
    live[held[i]] = {tonumber(epoch), tonumber(version), math.max(0, now - tonumber(at)), detail}
  else
    redis.call('HDEL', KEYS[1], held[i])
  end
end
if ARGV[2] ~= '' then
  local epoch, version = tonumber(ARGV[4]), tonumber(ARGV[5])
  redis.call('HSET', KEYS[1], ARGV[2], int(now) .. ' ' .. int(epoch) .. ' ' .. int(version) .. ' ' .. ARGV[6])
  redis.call('PEXPIRE', KEYS[1], ttl_ms(lease))
  live[ARGV[2]] = {epoch, version, 0, ARGV[6]}
end
local names, reply = {}, {}
for name in pairs(live) do names[#names + 1] = name end
table.sort(names)
for _, name in ipairs(names) do
  local one = live[name]
  reply[#reply + 1] = name
  for i = 1, 4 do reply[#reply + 1] = one[i] end
end
return reply
