-- Everything that GET /queue/stats shows, at one moment. ARGV: the statuses
-- -> JSON
local out = { now = now, counts = {}, queued = {}, workers = {}, rates = {} }
for _, status in ipairs(ARGV) do out.counts[status] = redis.call('ZCARD', status_key(status)) end
local function depth(index)
  local first = redis.call('ZRANGE', P .. 'queued:' .. index, 0, 0, 'WITHSCORES')
  if first[1] then
    out.queued[#out.queued + 1] = { tostring(index), redis.call('ZCARD', P .. 'queued:' .. index), now - first[2] }
  end
end
-- How long ago the life of the oldest began that has not ended, whatever became of it since.
out.unfinished = {}
for _, queue in ipairs(QUEUES) do
  local began = redis.call('ZRANGE', P .. 'open:' .. queue, 0, 0, 'WITHSCORES')[2]
  out.unfinished[queue] = began and now - began or 0
end
for priority = 10, 0, -1 do depth(priority) end
depth(QUARANTINE)
local seen = redis.call('ZRANGE', P .. 'workers:seen', '(' .. now, '+inf', 'BYSCORE', 'WITHSCORES')
for i = 1, #seen, 2 do
  local info = redis.call('HGET', P .. 'workers', seen[i])
  if info then out.workers[#out.workers + 1] = { info, tonumber(seen[i + 1]) } end
end
-- What was spent today, and by whom: those with most tokens, as many as can be shown.
out.day = today
out.paused = redis.call('SMEMBERS', P .. 'paused')
out.accounts = redis.call('ZRANGE', spenders_key(), 0, 49, 'REV')
out.spent = {}
local function spent(account) out.spent[account] = redis.call('HGETALL', spend_key(account)) end
spent('total')
for _, account in ipairs(out.accounts) do spent(account) end
-- This window and the five before it: the last 50 to 60 seconds.
local window = math.floor(now / RATE_WINDOW)
for i = 0, 5 do
  local flat = redis.call('HGETALL', P .. 'rate:' .. (window - i))
  for j = 1, #flat, 2 do out.rates[flat[j]] = (out.rates[flat[j]] or 0) + tonumber(flat[j + 1]) end
end
return cjson.encode(out)
