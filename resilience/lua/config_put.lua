-- KEYS    1: current
-- ARGV    2 epoch, 3 version, 4 json, 5 mac, 6 channel, 7 force: 1 replaces whatever is there
-- RETURNS 1 if written, epoch and version that are there now
-- TTL     30 days: whoever reads the rows writes it again
-- LAW     laws/config_put.py
local epoch, version = tonumber(ARGV[2]), tonumber(ARGV[3])
-- Another type under our key would fail every call from then on: it counts as nothing, and is replaced.
local held = redis.pcall('HMGET', KEYS[1], 'epoch', 'version')
if held.err then held = {} end
local e, v = tonumber(held[1] or 0) or 0, tonumber(held[2] or 0) or 0
local newer = epoch > e or (epoch == e and version > v)
if not newer and ARGV[7] ~= '1' then
  if epoch == e and version == v then redis.call('PEXPIRE', KEYS[1], ttl_ms(2592000000000)) end
  return {0, e, v}
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'epoch', int(epoch), 'version', int(version), 'json', ARGV[4], 'mac', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ttl_ms(2592000000000))
redis.call('PUBLISH', ARGV[6], int(epoch) .. ' ' .. int(version))
return {1, epoch, version}
