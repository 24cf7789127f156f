-- Claims something for one instance, until it lets go of it or the time is over. Repeating it renews the claim.
--
-- KEYS[1] the bucket's epoch (see epoch_v1.lua) · KEYS[2] the claim: "instance number" of who has it ·
-- KEYS[3] the instance that has it next: it has asked, and asks again soon · KEYS[4] the claims of this instance, a set
-- ARGV[1] the epoch that it knows, '' for any: one that is brought along into a new epoch · ARGV[2] this instance ·
-- ARGV[3] the claim's number, of which none comes again · ARGV[4] for how long (ms) · ARGV[5] until when by this store's
-- clock nobody has given it up (ms) · ARGV[6] for how long it is next after asking (ms)
-- Reply: 'ok', 'taken', 'late': it comes so late that it may have been given up, or 'epoch': another epoch, or none that
--        is active, so that claims may have been lost

local epoch = redis.call('HMGET', KEYS[1], 'id', 'state', 'run')
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if ARGV[1] ~= '' and (epoch[1] ~= ARGV[1] or epoch[2] ~= 'active' or epoch[3] ~= run) then return 'epoch' end
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[5]) then return 'late' end
local holder, next = redis.call('GET', KEYS[2]), redis.call('GET', KEYS[3])
local ours = holder and string.match(holder, '^%S+') == ARGV[2]
if not ours and (holder or (next and next ~= ARGV[2])) then
  if not next or next == ARGV[2] then redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[6]) end
  return 'taken'
end
if next == ARGV[2] then redis.call('DEL', KEYS[3]) end
redis.call('SET', KEYS[2], ARGV[2] .. ' ' .. ARGV[3], 'PX', ARGV[4])
redis.call('SADD', KEYS[4], KEYS[2])
redis.call('PEXPIRE', KEYS[4], ARGV[4])
return 'ok'
