-- What an instance brings into a new epoch: what it holds for requests that are in flight.
--
-- KEYS[1]   the bucket's epoch (see epoch_v1.lua)
-- KEYS[2..] counters (see exchange_v2.lua)
-- ARGV[1] this instance · ARGV[2] the epoch, which must be forming · ARGV[3] this call's id · ARGV[4] journal position ·
-- then for each counter: what it holds · the end of its window in ms, -1 for never
-- Reply: 1, or 0 when the epoch is another one

local KEEP_MS = 86400000
local epoch = redis.call('HMGET', KEYS[1], 'id', 'state')
if epoch[1] ~= ARGV[2] or epoch[2] ~= 'forming' then return 0 end
for i = 1, #KEYS - 1 do
  local key, held, to = KEYS[i + 1], ARGV[3 + i * 2], tonumber(ARGV[4 + i * 2])
  if redis.call('HGET', key, 'e') ~= ARGV[2] then redis.call('DEL', key) end
  redis.call('HSET', key, 'e', ARGV[2], 'i:' .. ARGV[1], held .. ' ' .. ARGV[3] .. ' ' .. ARGV[4] .. ' 0')
  if to >= 0 then redis.call('PEXPIREAT', key, to + KEEP_MS) end
end
return 1
