-- KEYS    1: current
-- ARGV    2 epoch, 3 version: known already
-- RETURNS epoch, version, json, mac; json and mac are empty when nothing is there, or what is known
-- TTL     none is written
-- LAW     laws/config_get.py
local held = redis.pcall('HMGET', KEYS[1], 'epoch', 'version', 'json', 'mac')
if held.err then return {0, 0, '', 'not a hash'} end
local e, v = tonumber(held[1] or 0) or 0, tonumber(held[2] or 0) or 0
if e == tonumber(ARGV[2]) and v == tonumber(ARGV[3]) then return {e, v, '', ''} end
return {e, v, held[3] or '', held[4] or ''}
