-- KEYS    every key a limiter can have, one an algorithm
-- ARGV    none
-- RETURNS how many there were
-- TTL     none: nothing is written
-- LAW     laws/limiter_reset.py
return {redis.call('DEL', unpack(KEYS))}
