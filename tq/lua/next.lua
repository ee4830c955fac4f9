-- The id that a worker would take next, or '' : aged first, then strictly by priority, then by age.
local function first(index)
  while true do
    local id = redis.call('ZRANGE', index, 0, 0)[1]
    if not id or redis.call('EXISTS', message_key(id)) == 1 then return id end
    drop(id, index)
  end
end
local id = first(P .. 'aged')
for priority = 10, 0, -1 do id = id or first(P .. 'queued:' .. priority) end
return id or first(P .. 'queued:' .. QUARANTINE) or ''
