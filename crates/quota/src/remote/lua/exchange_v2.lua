-- One subject's counters: folds what was spent, takes back what is returned, sets aside what is asked for:
-- for all counters or for none. A repeated or late call changes nothing: each names the call it comes after.
--
-- KEYS[1]   the bucket's epoch, a hash (see epoch_v1.lua)
-- KEYS[2]   the subject's calendar, a hash: cal = its name, since = in force since (ms); absent for the default
-- KEYS[3..] counters, each a hash; one of another epoch is none:
--             e       the epoch's id
--             c       the calendar that its window is of
--             s       settled, of all instances
--             i:<id>  what instance <id> has, as "granted call mark recall": set aside for it in units; its last
--                     call that was applied; all its settlements before this journal position are in s; the
--                     newest recall that it has answered by returning all that it does not hold
--             a:<id>  when that call was applied (ms), of what runs now
--             w:<id>  the ledger's watermark of journal <id> in the sum that s began with
--             r       how often what others have was wanted back, and when last (ms), as "recall ms"
-- ARGV[1] this instance   ARGV[2] the epoch that it knows   ARGV[3] this call's id   ARGV[4] its journal position
-- ARGV[5] the subject's calendar, '' for the default
-- ARGV[6] instances known to be dead, separated by spaces: requests in them have ended. Of what runs now, what they had
--         set aside is free again: it was for requests, and jobs that outlive them are settled. The call that such
--         an instance had last is no longer its last: if it lives after all, it sees that something was taken
-- then 13 for each counter:
--   the last call applied as far as it knows, '' for none · spent since then · returned · least that must be set
--   aside, 0 if nobody waits for it · wanted · more, if there is plenty · limit, -1 for none · start and end of the
--   window in ms, end -1 for never · c if it counts what runs now ·
--   the recall whose answers it waits for, 0 for none · the recall that it answers by returning all that it does
--   not hold, 0 for none: not one that it did not know of · 1 if it tells all that it settled before its journal
--   position, 0 if it tells nothing
--
-- Reply: { status, ms of this store's clock, about which counter, counters... }; a counter is
--   { s, set aside for others, granted, call, mark, last recall, last recall that it answered, 1 if that was
--     lately, watermark or -1, ids of others that may have something and have not answered the recall waited for }
-- Status: ok        applied
--         epoch     another epoch, none that is active, or one that began on another server process, such as the
--                   master that this replica followed: nothing may be given
--         window    the window is not now
--         call      another call came before: see the counter
--         unloaded  the counter has to be loaded from the ledger first, up to the ms in the last field
--         full      less is left than must be set aside: nothing is, all else is applied; if others have
--                   something, it is recalled: wait for their answers, and ask again
-- Numbers are exact up to 2^53, which no sum here passes: they stay there.

local MAX = 9007199254740992
local RECALL_MS = 5000
local KEEP_MS = 86400000
local DEAD_MS = 5000

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local epoch = redis.call('HMGET', KEYS[1], 'id', 'state', 'since', 'evicted', 'run')
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if epoch[1] ~= ARGV[2] or epoch[2] ~= 'active' or epoch[5] ~= run then
  return { 'epoch', now, 0 }
end
local me = 'i:' .. ARGV[1]
local since = tonumber(epoch[3])
local calendar = redis.call('HMGET', KEYS[2], 'cal', 'since')
if (calendar[1] or '') ~= ARGV[5] then
  redis.call('HSET', KEYS[2], 'cal', ARGV[5], 'since', now)
  since = now
elseif calendar[2] and tonumber(calendar[2]) > since then
  since = tonumber(calendar[2])
end
local dead = {}
for id in string.gmatch(ARGV[6], '%S+') do dead['i:' .. id] = true end

local function clamp(n)
  if n > MAX then return MAX elseif n < -MAX then return -MAX end
  return n
end

local function parse(text)
  local g, call, mark, ack = string.match(text, '^(%S+) (%S+) (%S+) (%S+)$')
  return tonumber(g), call, mark, tonumber(ack)
end

local counters, status, about = {}, 'ok', 0
local function fail(why, i)
  if status == 'ok' then status, about = why, i end
end

for i = 1, #KEYS - 2 do
  local key, at = KEYS[i + 2], 6 + (i - 1) * 13
  local c = {
    key = key, after = ARGV[at + 1], fold = tonumber(ARGV[at + 2]), ret = tonumber(ARGV[at + 3]),
    least = tonumber(ARGV[at + 4]), wanted = tonumber(ARGV[at + 5]), extra = tonumber(ARGV[at + 6]),
    limit = tonumber(ARGV[at + 7]), from = tonumber(ARGV[at + 8]), to = tonumber(ARGV[at + 9]),
    runs = ARGV[at + 10] == 'c',
    waits = tonumber(ARGV[at + 11]), answers = tonumber(ARGV[at + 12]), tells = ARGV[at + 13] == '1', g = 0, call = '', mark = '-1', ack = 0, others = 0, holders = 0,
    recall = 0, recalled_at = 0, watermark = '-1', who = {}, gone = {},
  }
  counters[i] = c
  if now < c.from or (c.to >= 0 and now >= c.to) then fail('window', i) end
  local fields = redis.call('HGETALL', key)
  for f = 1, #fields, 2 do
    if fields[f] == 'e' and fields[f + 1] ~= epoch[1] then
      redis.call('DEL', key)
      fields = {}
      break
    end
  end
  -- One that has called lately lives, whatever the caller has heard of it.
  local called = {}
  for f = 1, c.runs and #fields or 0, 2 do
    if string.sub(fields[f], 1, 2) == 'a:' then called['i:' .. string.sub(fields[f], 3)] = tonumber(fields[f + 1]) end
  end
  for f = 1, #fields, 2 do
    local name, value = fields[f], fields[f + 1]
    if name == 's' then
      c.s = tonumber(value)
    elseif name == 'r' then
      local recall, at = string.match(value, '^(%S+) (%S+)$')
      c.recall, c.recalled_at = tonumber(recall), tonumber(at)
    elseif name == me then
      c.g, c.call, c.mark, c.ack = parse(value)
    elseif name == 'w:' .. ARGV[1] then
      c.watermark = value
    elseif string.sub(name, 1, 2) == 'i:' then
      local g, _, mark, ack = parse(value)
      if c.runs and dead[name] and now - (called[name] or 0) >= DEAD_MS then
        if g > 0 then c.gone[#c.gone + 1] = { name, '0 0 ' .. mark .. ' ' .. ack } end
      else
        if g > 0 then c.others, c.holders = c.others + g, c.holders + 1 end
        -- Of what never resets, an instance may have been given something back that it has not told yet.
        local may_have = g > 0 or c.to < 0
        if may_have and (c.waits == 0 or ack < c.waits) then c.who[#c.who + 1] = string.sub(name, 3) end
      end
    end
  end
  if c.call ~= c.after then
    fail('call', i)
  elseif not c.s then
    if c.from >= since then
      c.s, c.new = 0, true
    else
      fail('unloaded', i)
    end
  end
end

-- A counter that is not there counts from zero, unless it was evicted.
if status == 'ok' then
  for i, c in ipairs(counters) do
    if c.new then
      local evicted = string.match(redis.call('INFO', 'stats'), 'evicted_keys:(%d+)')
      if evicted ~= epoch[4] then
        redis.call('DEL', KEYS[1])
        return { 'epoch', now, i }
      end
      break
    end
  end
end

if status == 'ok' then
  for i, c in ipairs(counters) do
    c.s2 = clamp(c.s + c.fold)
    c.g2 = math.max(clamp(c.g - c.fold - c.ret), 0)
    c.left = c.limit < 0 and MAX or c.limit - c.s2 - c.others - c.g2
    if c.least > 0 and c.left < c.least then
      fail('full', i)
      if about == i and c.waits == 0 and #c.who > 0 then
        -- Those who have some are told twice: by this message, and by r when they next call.
        c.recall, c.recalled_at = c.recall + 1, now
        redis.call('HSET', c.key, 'r', c.recall .. ' ' .. now)
        redis.call('PUBLISH', 'tollgate:1:recall', table.concat(c.who, ' ') .. '\n' .. c.recall .. '\n' .. c.key)
      end
    end
  end
end

if status == 'ok' or status == 'full' then
  for _, c in ipairs(counters) do
    local recalled = c.recall > 0 and now - c.recalled_at < RECALL_MS
    local grant = 0
    if status == 'ok' and c.limit >= 0 and c.wanted > 0 then
      grant = math.max(math.min(c.left, c.wanted), 0)
    end
    if status == 'ok' and c.limit >= 0 and c.extra > 0 and not recalled then
      -- The nearer the limit, the less is set aside ahead of need: nothing at the end.
      local share = math.floor((c.left - grant) / (4 * (c.holders + 1)))
      grant = grant + math.max(math.min(c.extra, share), 0)
    end
    c.s, c.g, c.call = c.s2, c.g2 + grant, ARGV[3]
    if c.tells then c.mark = ARGV[4] end
    if grant == 0 or c.least == 0 then c.ack = math.max(c.ack, math.min(c.answers, c.recall)) end
    redis.call('HSET', c.key, 'e', epoch[1], 'c', ARGV[5], 's', string.format('%.0f', c.s),
      me, string.format('%.0f', c.g) .. ' ' .. c.call .. ' ' .. c.mark .. ' ' .. c.ack)
    if c.runs then redis.call('HSET', c.key, 'a:' .. ARGV[1], now) end
    for _, gone in ipairs(c.gone) do redis.call('HSET', c.key, gone[1], gone[2]) end
    if c.to >= 0 then redis.call('PEXPIREAT', c.key, c.to + KEEP_MS) end
  end
end

local reply = { status, now, about }
for i, c in ipairs(counters) do
  reply[3 + i] = {
    string.format('%.0f', c.s or 0), string.format('%.0f', c.others), string.format('%.0f', c.g), c.call, c.mark,
    c.recall, c.ack, (c.recall > 0 and now - c.recalled_at < RECALL_MS) and 1 or 0, c.watermark,
    table.concat(c.who, ' '),
  }
end
reply[#reply + 1] = since
return reply
