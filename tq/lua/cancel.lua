-- ARGV: id, TTL in ms, a word of this request alone -> 'ok' | 'gone' | the status that forbids it
even_when_full()
local id, nonce = ARGV[1], ARGV[3]
local m = load(id)
if not m then return 'gone' end
if repeated(id, nonce) then return 'ok' end
if not move(id, m, 'cancelled', { ttl = tonumber(ARGV[2]) }) then return m.status end
redis.call('HDEL', message_key(id), 'owner')
redis.call('HSET', message_key(id), 'request', nonce)
return 'ok'
