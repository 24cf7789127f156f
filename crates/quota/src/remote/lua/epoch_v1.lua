-- The epoch of a bucket: while it lasts, this store has lost nothing.
--
-- KEYS[1] the epoch, a hash:
--           id       made by whoever began it
--           state    forming: instances join, nothing is given; active
--           run      the server process that it began on
--           kinds    what is counted of each subject, separated by spaces; each begins with a space
--           since    active since (ms): what was admitted before is known from the ledger
--           evicted  the server's evicted_keys when it became active
--           j:<id>   instance <id> has joined; the last instant (ms) that it admitted something at
-- ARGV[1] look:     an epoch that began on another process is no epoch: a server that was restarted or took over
--                   may have lost what it was told last
--         form:     ARGV[2] the id to replace, '' for none · ARGV[3] new id · ARGV[4] kinds
--         join:     ARGV[2] the id · ARGV[3] instance · ARGV[4] its last instant
--         activate: ARGV[2] the id, of an epoch of this process · ARGV[3..] the instances that are alive
-- Reply: { id or '', state, since, ms of this store's clock, kinds, instances that have not joined }

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key, op = KEYS[1], ARGV[1]
local function get(field) return redis.call('HGET', key, field) or '' end

local function run_id() return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') end

local missing = {}
if op == 'look' then
  local run = get('run')
  if run ~= '' and run ~= run_id() then redis.call('DEL', key) end
elseif op == 'form' then
  if get('id') == ARGV[2] then
    redis.call('DEL', key)
    redis.call('HSET', key, 'id', ARGV[3], 'state', 'forming', 'run', run_id(), 'kinds', ARGV[4])
    redis.call('PUBLISH', 'tollgate:1:epoch', ARGV[3])
  end
elseif op == 'join' then
  if get('id') == ARGV[2] then redis.call('HSET', key, 'j:' .. ARGV[3], ARGV[4]) end
elseif op == 'activate' then
  if get('id') == ARGV[2] and get('state') == 'forming' and get('run') == run_id() then
    for i = 3, #ARGV do
      if get('j:' .. ARGV[i]) == '' then missing[#missing + 1] = ARGV[i] end
    end
    if #missing == 0 then
      local since = now
      local fields = redis.call('HGETALL', key)
      for f = 1, #fields, 2 do
        if string.sub(fields[f], 1, 2) == 'j:' then since = math.max(since, tonumber(fields[f + 1]) + 1) end
      end
      local evicted = string.match(redis.call('INFO', 'stats'), 'evicted_keys:(%d+)')
      redis.call('HSET', key, 'state', 'active', 'since', since, 'evicted', evicted)
      redis.call('PUBLISH', 'tollgate:1:epoch', ARGV[2])
    end
  end
end
return { get('id'), get('state'), tonumber(get('since')) or 0, now, get('kinds'), table.concat(missing, ' ') }
