-- A program outside moves a message on (POST /messages/{id}/status).
-- ARGV: id, status, lease in ms, delay in ms, TTL in ms, a word of this request alone, type of an error
--       that it reports or '', then field, value, ...
-- -> {'ok', status before} | {'illegal', status} | {'missing-key', status}
--    | {'paused', status} | {'gone'}
even_when_full()
local id, to = ARGV[1], ARGV[2]
local m = load(id)
if not m then return { 'gone' } end
local from = m.status
if repeated(id, ARGV[6]) then return { 'ok', from } end
if not LEGAL[from][to] then return { 'illegal', from } end
if to == 'running' and is_paused(queue_of(m)) then return { 'paused', from } end
local key = message_key(id)
if ENDED[from] then
  if lacks_key(id, '') then return { 'missing-key', from } end
  revive(id, m, '')
  redis.call('HSET', key, 'request', ARGV[6])
  return { 'ok', from }
end
redis.call('HSET', key, 'request', ARGV[6])
for i = 8, #ARGV, 2 do redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
redis.call('HDEL', key, 'owner')
local options = { until_ = now + tonumber(ARGV[4]), ttl = tonumber(ARGV[5]), reason = ARGV[7] }
if to == 'running' then
  m.epoch = m.epoch + 1
  m.attempts = m.attempts + 1
  redis.call('HSET', key, 'epoch', m.epoch, 'attempts', m.attempts, 'owner', 'outside', 'started', now)
  options.until_ = now + tonumber(ARGV[3])
end
options.info = to == 'running' and 'outside' or ARGV[7]
move(id, m, to, options)
return { 'ok', from }
