-- Revive a failed or cancelled message: a new budget of retries, out of quarantine.
-- ARGV: id, newly sealed key or '', a word of this request alone
-- -> 'ok' | 'gone' | 'missing-key' | the status that forbids it
local id, sealed = ARGV[1], ARGV[2]
local m = load(id)
if not m then return 'gone' end
if repeated(id, ARGV[3]) then return 'ok' end
if not ENDED[m.status] or not LEGAL[m.status].queued then return m.status end
local key = message_key(id)
if sealed == '' and redis.call('HEXISTS', key, 'own_key') == 1 then return 'missing-key' end
redis.call('HDEL', key, 'retries', 'crashes', 'queue', 'warnings', 'translation', 'model', 'provider')
m.queue = nil
if sealed ~= '' then
  redis.call('SET', P .. 'sealed:' .. id, sealed)
  redis.call('HSET', key, 'own_key', 1)
end
redis.call('HSET', key, 'request', ARGV[3])
move(id, m, 'queued')
return 'ok'
