-- Prolong the leases of one process, and its entry among the live workers.
-- ARGV: worker name or '', worker as JSON, seconds the entry lives in ms, lease in ms, then id, epoch, ...
-- -> flat list of id, status ('lost' where another epoch runs) for each that is no longer the caller's
local lost = {}
if ARGV[1] ~= '' then
  redis.call('HSET', P .. 'workers', ARGV[1], ARGV[2])
  redis.call('ZADD', P .. 'workers:seen', now + tonumber(ARGV[3]), ARGV[1])
end
for i = 5, #ARGV, 2 do
  local id = ARGV[i]
  local v = redis.call('HMGET', message_key(id), 'status', 'epoch')
  if v[1] == 'running' and v[2] == ARGV[i + 1] then
    redis.call('ZADD', P .. 'leases', 'XX', now + tonumber(ARGV[4]), id)
  else
    lost[#lost + 1] = id
    lost[#lost + 1] = v[1] == 'running' and 'lost' or (v[1] or 'gone')
  end
end
return lost
