-- Lets go of a claim, if this instance has it by this number: a call that comes late lets go of no later claim.
--
-- KEYS[1] the claim · KEYS[2] the claims of this instance (see claim_v1.lua)
-- ARGV[1] this instance · ARGV[2] the claim's number, '' for whatever an earlier process has left
-- Reply: 1, or 0 when it had none

local holder = redis.call('GET', KEYS[1])
local instance, number = string.match(holder or '', '^(%S+) (%S+)$')
if instance == ARGV[1] and ARGV[2] ~= '' and number ~= ARGV[2] then return 0 end
redis.call('SREM', KEYS[2], KEYS[1])
if instance ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
