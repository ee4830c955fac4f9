-- A program outside moves a message on (POST /messages/{id}/status).
-- ARGV: id, status, lease in ms, delay in ms, TTL in ms, then field, value, ...
-- -> {'ok', status before} | {'illegal', status} | {'gone'}
local id, to = ARGV[1], ARGV[2]
local m = load(id)
if not m then return { 'gone' } end
local from = m.status
if not LEGAL[from][to] then return { 'illegal', from } end
local key = message_key(id)
for i = 6, #ARGV, 2 do redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
redis.call('HDEL', key, 'owner')
local options = { until_ = now + tonumber(ARGV[4]), ttl = tonumber(ARGV[5]) }
if to == 'running' then
  m.epoch = m.epoch + 1
  m.attempts = m.attempts + 1
  redis.call('HSET', key, 'epoch', m.epoch, 'attempts', m.attempts, 'owner', 'outside', 'started', now)
  options.until_ = now + tonumber(ARGV[3])
end
move(id, m, to, options)
return { 'ok', from }
