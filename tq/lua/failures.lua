-- Why the newest messages have failed. ARGV: how many at most -> flat list of id, error as JSON, when in ms
local out = {}
for _, id in ipairs(redis.call('ZRANGE', status_key('failed'), '+inf', '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[1])) do
  local v = redis.call('HMGET', message_key(id), 'error', 'finished')
  if v[1] then
    out[#out + 1] = id
    out[#out + 1] = v[1]
    out[#out + 1] = v[2] or '0'
  end
end
return out
