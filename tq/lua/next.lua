-- The id that a worker would take next, or '' : aged first, then strictly by priority, then by age.
local aged = redis.call('ZRANGE', P .. 'aged', 0, 0)
if aged[1] then return aged[1] end
for priority = 10, 0, -1 do
  local first = redis.call('ZRANGE', P .. 'queued:' .. priority, 0, 0)
  if first[1] then return first[1] end
end
return redis.call('ZRANGE', P .. 'queued:' .. QUARANTINE, 0, 0)[1] or ''
