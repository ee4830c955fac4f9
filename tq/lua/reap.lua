-- What time alone brings about: expired leases, due retries, records past their TTL, silent workers.
-- ARGV: most of each kind, TTL in ms, error as JSON for a poisoned message, crashes that quarantine, that fail
-- -> {flat list of id, queue ('' = by priority), priority to be published; ids that failed as poison; another such list
--    of those that were held by a pause that is over, newest first; flat list of id, attempts, process of those whose
--    lease expired}
even_when_full()
local most, ttl = tonumber(ARGV[1]), tonumber(ARGV[2])
local publish, poisoned, expired = {}, {}, {}
local function add(id, m)
  publish[#publish + 1] = id
  publish[#publish + 1] = m.queue or ''
  publish[#publish + 1] = m.priority
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', now, 'LIMIT', 0, most)) do
  local m = load(id)
  if not m or m.status ~= 'running' then
    redis.call('ZREM', P .. 'leases', id)
  else
    local key = message_key(id)
    redis.call('HDEL', key, 'owner')
    tally('leases')
    -- Only a process that died may have died of the message: not a program outside, and not a worker
    -- whose heart still beats (the answer to its claim was lost, or it stood still for a while).
    local process = m.owner:match('^(.*)#')
    local alive = process and tonumber(redis.call('ZSCORE', P .. 'alive', process) or '0') > now
    if m.owner ~= 'outside' and not alive then m.crashes = redis.call('HINCRBY', key, 'crashes', 1) end
    if m.crashes >= tonumber(ARGV[5]) then
      redis.call('HSET', key, 'error', ARGV[3])
      move(id, m, 'failed', { ttl = ttl, info = 'poison', reason = 'poison' })
      poisoned[#poisoned + 1] = id
    else
      if m.crashes >= tonumber(ARGV[4]) then
        m.queue = QUARANTINE
        redis.call('HSET', key, 'queue', QUARANTINE)
      end
      move(id, m, 'queued', { info = 'lease expired', outcome = 'expired' })
      add(id, m)
      for _, value in ipairs({ id, m.attempts, process or m.owner }) do expired[#expired + 1] = value end
    end
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'due', '-inf', now, 'LIMIT', 0, most)) do
  local m = load(id)
  if not m or m.status ~= 'retrying' then
    redis.call('ZREM', P .. 'due', id)
  else
    move(id, m, 'queued')
    add(id, m)
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'ended', '-inf', now, 'LIMIT', 0, most)) do
  redis.call('ZREM', P .. 'ended', id)
  local m = load(id)
  if not m or ENDED[m.status] then
    leave_indexes(id)
    redis.call('DEL', message_key(id))
  end
end

-- What left without a word would be the oldest for ever: its keys were deleted by hand, or a worker of an older version,
-- which does not know this index, ended it.
for _, queue in ipairs(QUEUES) do
  for _ = 1, most do
    local id = redis.call('ZRANGE', P .. 'open:' .. queue, 0, 0)[1]
    local status = id and redis.call('HGET', message_key(id), 'status')
    if not id or status and not ENDED[status] then break end
    redis.call('ZREM', P .. 'open:' .. queue, id)
  end
end

redis.call('ZREMRANGEBYSCORE', P .. 'alive', '-inf', now - 60000)
for _, name in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers:seen', '-inf', now)) do
  redis.call('ZREM', P .. 'workers:seen', name)
  redis.call('HDEL', P .. 'workers', name)
end
-- As many in all as are held, so that a round without any is one that found none.
local held, entries = {}, 0
for _, queue in ipairs({ QUEUES[1], QUEUES[2], QUARANTINE }) do
  if entries < most and not is_paused(queue) then
    local popped = redis.call('ZPOPMAX', held_key(queue), most - entries)
    for i = 1, #popped, 2 do
      entries = entries + 1
      local m = load(popped[i])
      if m and m.status == 'queued' then
        redis.call('ZADD', P .. 'republished', now, popped[i])
        redis.call('HSET', message_key(popped[i]), 'extra', 1)
        held[#held + 1] = popped[i]
        held[#held + 1] = m.queue or ''
        held[#held + 1] = m.priority
      end
    end
  end
end
return { publish, poisoned, held, expired }
