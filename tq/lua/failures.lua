-- Failed messages by the type of their error: how many there are, and the newest. -> flat list of type, how many, id, error
-- as JSON, when in ms
local out = {}
for _, kind in ipairs(redis.call('SMEMBERS', P .. 'failures')) do
  -- Those whose time is over are there until the reaper comes by.
  for _, id in ipairs(redis.call('ZRANGE', failed_key(kind), 0, 9, 'REV')) do
    local v = redis.call('HMGET', message_key(id), 'error', 'finished')
    if v[1] then
      for _, part in ipairs({ kind, tostring(redis.call('ZCARD', failed_key(kind))), id, v[1], v[2] or '0' }) do out[#out + 1] = part end
      break
    end
  end
end
return out
