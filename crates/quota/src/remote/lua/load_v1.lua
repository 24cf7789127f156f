-- Tells counters what the ledger knows; whoever comes first does.
--
-- KEYS[1]   the bucket's epoch (see epoch_v1.lua)
-- KEYS[2..] counters (see exchange_v2.lua)
-- ARGV[1] the epoch that the sums are of · ARGV[2] how many watermarks · then a journal's id and its watermark each ·
-- then for each counter: its sum · the end of its window in ms, -1 for never
-- Reply: 1, or 0 when the epoch is another one

local KEEP_MS = 86400000
local epoch = redis.call('HMGET', KEYS[1], 'id', 'state')
if epoch[1] ~= ARGV[1] or epoch[2] ~= 'active' then return 0 end
local marks = tonumber(ARGV[2])
local at = 2 + marks * 2
for i = 1, #KEYS - 1 do
  local key, sum, to = KEYS[i + 1], ARGV[at + i * 2 - 1], tonumber(ARGV[at + i * 2])
  if redis.call('HGET', key, 'e') ~= ARGV[1] then redis.call('DEL', key) end
  if redis.call('HSETNX', key, 's', sum) == 1 then
    redis.call('HSET', key, 'e', ARGV[1])
    for m = 1, marks do redis.call('HSET', key, 'w:' .. ARGV[1 + m * 2], ARGV[2 + m * 2]) end
    if to >= 0 then redis.call('PEXPIREAT', key, to + KEEP_MS) end
  end
end
return 1
