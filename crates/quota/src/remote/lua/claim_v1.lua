-- Claims something for one instance, until it lets go of it or the time is over. Repeating it renews the claim.
--
-- KEYS[1] the bucket's epoch (see epoch_v1.lua) · KEYS[2] the claim: "instance number" of who has it ·
-- KEYS[3] the claims of this instance, a set
-- ARGV[1] the epoch that it knows, '' for any: one that is brought along into a new epoch · ARGV[2] this instance ·
-- ARGV[3] the claim's number, of which none comes again · ARGV[4] for how long (ms)
-- Reply: 'ok', 'taken', or 'epoch': another epoch, or none that is active, so that claims may have been lost

local epoch = redis.call('HMGET', KEYS[1], 'id', 'state', 'run')
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if ARGV[1] ~= '' and (epoch[1] ~= ARGV[1] or epoch[2] ~= 'active' or epoch[3] ~= run) then return 'epoch' end
local holder = redis.call('GET', KEYS[2])
if holder and string.match(holder, '^%S+') ~= ARGV[2] then return 'taken' end
redis.call('SET', KEYS[2], ARGV[2] .. ' ' .. ARGV[3], 'PX', ARGV[4])
redis.call('SADD', KEYS[3], KEYS[2])
redis.call('PEXPIRE', KEYS[3], ARGV[4])
return 'ok'
