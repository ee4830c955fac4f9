-- The id that a worker would take next, or '' : aged first, then strictly by priority, then by age; never of a queue
-- that is paused.
local function first(index)
  while true do
    local id = redis.call('ZRANGE', index, 0, 0)[1]
    if not id or redis.call('EXISTS', message_key(id)) == 1 then return id end
    drop(id, index)
  end
end
local function open(id) return id and not is_paused(queue_of(load(id))) and id or nil end
local id = open(first(P .. 'aged'))
for priority = 10, 0, -1 do
  if not is_paused(queue_of({ priority = priority })) then id = id or first(P .. 'queued:' .. priority) end
end
return id or open(first(P .. 'queued:' .. QUARANTINE)) or ''
