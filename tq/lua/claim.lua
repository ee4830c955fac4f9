-- Give a queued message to one owner; the epoch is the fence that all its later calls carry.
-- ARGV: id, owner (unique to this claim), lease in ms, model for a message that names none
-- -> {epoch, sealed key or '', record as a flat list} | {'stale', status} | {'gone'}
even_when_full()
local id, owner, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
local m = load(id)
if not m then return { 'gone' } end
local key = message_key(id)
if m.status == 'queued' then
  m.epoch = m.epoch + 1
  m.attempts = m.attempts + 1
  redis.call('HSET', key, 'epoch', m.epoch, 'attempts', m.attempts, 'owner', owner, 'started', now, 'model', ARGV[4])
  redis.call('INCR', P .. 'claims')
  move(id, m, 'running', { until_ = now + lease })
elseif not (m.status == 'running' and m.owner == owner) then
  -- The same owner asking again lost our first answer: it gets it once more.
  return { 'stale', m.status }
end
return { m.epoch, redis.call('GET', P .. 'sealed:' .. id) or '', redis.call('HGETALL', key) }
