-- A worker saw the process apart die in which it had this message run: the message is what kills.
-- ARGV: id, how the owner's name begins, TTL in ms, error as JSON -> 'ok' | 'lost' (not running there)
even_when_full()
local id, process = ARGV[1], ARGV[2]
local m = load(id)
if not m or m.status ~= 'running' or m.owner:sub(1, #process) ~= process then return 'lost' end
redis.call('HINCRBY', message_key(id), 'crashes', 1)
redis.call('HSET', message_key(id), 'error', ARGV[4])
redis.call('HDEL', message_key(id), 'owner')
move(id, m, 'failed', { ttl = tonumber(ARGV[3]), info = 'poison', reason = 'poison' })
return 'ok'
