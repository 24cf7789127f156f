-- A sign of life, by this store's clock: those of the instances may be wrong, and may jump.
--
-- KEYS[1] instances, a hash: id = when it last said that it lives (ms)
-- ARGV[1] this instance
-- Reply: { ms of this store's clock, 1 if this instance was not known, id, ms, id, ms, ... }

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local new = redis.call('HSET', KEYS[1], ARGV[1], now)
local reply = redis.call('HGETALL', KEYS[1])
table.insert(reply, 1, new)
table.insert(reply, 1, now)
return reply
