-- Prolong the leases of one process, and its entries among the living and, if it is one, the workers.
-- ARGV: process, worker as JSON or '' (it is none), lease in ms, then id, epoch, ...
-- -> flat list of id, status ('lost' where another epoch runs) for each that is no longer the caller's
even_when_full()
local lost = {}
local until_ = now + tonumber(ARGV[3])
redis.call('ZADD', P .. 'alive', until_, ARGV[1])
if ARGV[2] ~= '' then
  redis.call('HSET', P .. 'workers', ARGV[1], ARGV[2])
  redis.call('ZADD', P .. 'workers:seen', until_, ARGV[1])
end
for i = 4, #ARGV, 2 do
  local id = ARGV[i]
  local v = redis.call('HMGET', message_key(id), 'status', 'epoch')
  if v[1] == 'running' and v[2] == ARGV[i + 1] then
    redis.call('ZADD', P .. 'leases', 'XX', until_, id)
  else
    lost[#lost + 1] = id
    lost[#lost + 1] = v[1] == 'running' and 'lost' or (v[1] or 'gone')
  end
end
return lost
