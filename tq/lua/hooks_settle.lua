-- What came of an attempt to deliver a webhook.
-- ARGV: receiver, id, event, number of the attempt, status it has now, delay in ms (pending), HTTP status or '', what
--       was wrong or '', TTL of messages in ms, 1 or 0: nothing was tried, so that it was no attempt (pending)
-- -> 'ok' | 'lost' (taken by another since, or settled) | 'gone'
even_when_full()
local receiver, id, event, attempt, status = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local member, key = event .. ' ' .. id, told_of(event, id)
if not key then
  redis.call('ZREM', hooks_key(receiver), member)
  tell_receiver(receiver)
  return 'gone'
end
local state, attempts, finished = unpack(redis.call('HMGET', key, 'hook_state', 'hook_attempts', 'finished'))
-- What was delivered was, whoever else may be at it.
if state ~= 'pending' or (attempts ~= attempt and status ~= 'delivered') then return 'lost' end
if ARGV[10] == '0' then
  redis.call('HINCRBY', key, 'hook_attempts', -1)
else
  for name, value in pairs({ hook_http = ARGV[7], hook_error = ARGV[8] }) do
    if value == '' then redis.call('HDEL', key, name) else redis.call('HSET', key, name, value) end
  end
  tally('hooks:' .. (status == 'pending' and 'retried' or status))
end
if status == 'pending' then
  local due = now + tonumber(ARGV[6])
  redis.call('HSET', key, 'hook_due', due)
  redis.call('ZADD', hooks_key(receiver), due, member)
  -- It lives until then, and a day more, should nobody be there.
  local least = due - now + 86400000
  if redis.call('PTTL', key) < least then
    redis.call('PEXPIRE', key, least)
    if key == message_key(id) then redis.call('ZADD', P .. 'ended', now + least, id) end
  end
else
  redis.call('ZREM', hooks_key(receiver), member)
  redis.call('HSET', key, 'hook_state', status)
  redis.call('HDEL', key, 'hook_due')
  if status == 'delivered' then redis.call('HSET', key, 'hook_at', now) end
  if key == snapshot_key(event) then
    redis.call('DEL', key)
  else
    -- From here on it is kept like any other.
    local ends = math.max(now + 1000, finished + tonumber(ARGV[9]))
    redis.call('PEXPIRE', key, ends - now)
    redis.call('ZADD', P .. 'ended', ends, id)
  end
end
tell_receiver(receiver)
return 'ok'
