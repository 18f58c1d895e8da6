-- KEYS    every key a limiter can have, one an algorithm
-- ARGV    none
-- RETURNS 1: how many there were would depend on what has run out and still lies there
-- TTL     none: nothing is written
-- LAW     laws/limiter_reset.py
redis.call('DEL', unpack(KEYS))
return {1}
