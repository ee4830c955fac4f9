-- Send the webhook of a message that has ended once more: at once, and again as often as one that was never sent.
-- ARGV: id -> 'ok' | 'gone' | 'none' (nobody is to be called back) | the status of a message that has not ended
local id = ARGV[1]
local m, key = load(id), message_key(id)
if not m then return 'gone' end
if not m.hook then return 'none' end
if not ENDED[m.status] then return m.status end
local state, event, attempts, due = unpack(redis.call('HMGET', key, 'hook_state', 'hook_event', 'hook_attempts', 'hook_due'))
-- It is under way, or about to be: whoever asks twice has it sent once.
if state == 'pending' and tonumber(due or now) <= now then return 'ok' end
-- The number of an attempt stays its own: an answer that comes late must not be taken for that of another.
redis.call('HSET', key, 'hook_state', 'pending', 'hook_due', now, 'hook_before', attempts or 0)
redis.call('HDEL', key, 'hook_at')
redis.call('ZADD', hooks_key(m.hook), now, event .. ' ' .. id)
tell_receiver(m.hook)
if redis.call('PTTL', key) < HOOKS_KEPT then
  redis.call('PEXPIRE', key, HOOKS_KEPT)
  redis.call('ZADD', P .. 'ended', now + HOOKS_KEPT, id)
end
return 'ok'
