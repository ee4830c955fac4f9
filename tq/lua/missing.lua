-- Queued messages whose token is lost: older than what their list will hand out next.
-- ARGV: index (a priority, or the quarantine), offset, page, grace in ms, id at the list's tail or ''
--       ('' = the list is empty)
-- -> {number scanned, id, queue, priority, ...}
even_when_full()
local index, offset, page, grace, tail = P .. 'queued:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]),
  tonumber(ARGV[4]), ARGV[5]
-- When a message's token was last published: later than its entry into the queue if it was repeated.
local function published(id, queued)
  return tonumber(redis.call('ZSCORE', P .. 'republished', id) or queued)
end
-- When the token at the tail was published. Of a message that had extra tokens it may be any of them,
-- so that it is as old as the message: too old a mark only leaves a loss for the next round to find.
local mark = now
if tail ~= '' then
  local v = redis.call('HMGET', message_key(tail), 'queued', 'created', 'extra', 'called')
  mark = math.min(tonumber((not v[3] and v[1]) or v[2] or '0'), tonumber(v[4] or now))
end
-- A worker of an older version knows no lines: what it took is still in them.
if offset == 0 and ARGV[1] ~= QUARANTINE then
  local turns = P .. 'turns:' .. ARGV[1]
  for _, payer in ipairs(redis.call('ZRANGE', turns, 0, 99)) do
    local line = P .. 'line:' .. ARGV[1] .. ':' .. payer
    for _, id in ipairs(redis.call('ZRANGE', line, 0, page - 1)) do
      if redis.call('HGET', message_key(id), 'status') == 'queued' then break end
      redis.call('ZREM', line, id)
    end
    if redis.call('EXISTS', line) == 0 then redis.call('ZREM', turns, payer) end
  end
end
local out = { 0 }
-- What waits in a queue that is paused may have no token: it is held.
if is_paused(ARGV[1] == QUARANTINE and QUARANTINE or queue_of({ priority = ARGV[1] })) then return out end
local entries = redis.call('ZRANGE', index, '-inf', '(' .. (mark - grace), 'BYSCORE', 'LIMIT', offset, page,
  'WITHSCORES')
for i = 1, #entries, 2 do
  local id = entries[i]
  if published(id, entries[i + 1]) < mark - grace then
    local m = load(id)
    if m then
      redis.call('ZADD', P .. 'republished', now, id)
      redis.call('HSET', message_key(id), 'extra', 1)
      out[#out + 1] = id
      out[#out + 1] = m.queue or ''
      out[#out + 1] = m.priority
    else
      drop(id, index)
    end
  end
end
out[1] = #entries / 2
return out
