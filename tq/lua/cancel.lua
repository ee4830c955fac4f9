-- ARGV: id, TTL in ms -> 'ok' | 'gone' | the status that forbids it
local m = load(ARGV[1])
if not m then return 'gone' end
if not move(ARGV[1], m, 'cancelled', { ttl = tonumber(ARGV[2]) }) then return m.status end
redis.call('HDEL', message_key(ARGV[1]), 'owner')
return 'ok'
