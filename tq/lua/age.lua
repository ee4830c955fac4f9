-- Ageing: which messages have waited so long that they may go to the front, within the allowance
-- of one extra token for every 20 claims.
-- ARGV: longest wait in ms, share of the claims (0.05), most at once
-- -> ids, longest wait first
even_when_full()
local function number(field) return tonumber(redis.call('HGET', P .. 'ageing', field) or '0') end
local claims = tonumber(redis.call('GET', P .. 'claims') or '0')
local credit = math.min(number('credit') + (claims - number('claims')) * tonumber(ARGV[2]), tonumber(ARGV[3]))
redis.call('HSET', P .. 'ageing', 'claims', claims)
local candidates = {}
local above = redis.call('ZCARD', P .. 'queued:10')
for priority = 9, 0, -1 do
  local key = P .. 'queued:' .. priority
  -- With nothing above it, a message is at the front already.
  if above > 0 and not is_paused(queue_of({ priority = priority })) then
    local entries = redis.call('ZRANGE', key, '-inf', now - tonumber(ARGV[1]), 'BYSCORE', 'LIMIT', 0, 200, 'WITHSCORES')
    for i = 1, #entries, 2 do
      local aged = redis.call('ZSCORE', P .. 'aged', entries[i])
      -- Once aged it stays in front, unless its extra token got lost.
      if not aged or tonumber(aged) < now - tonumber(ARGV[1]) then
        candidates[#candidates + 1] = { entries[i], tonumber(entries[i + 1]) }
      end
    end
  end
  above = above + redis.call('ZCARD', key)
end
table.sort(candidates, function(a, b) return a[2] < b[2] end)
local ids = {}
while credit >= 1 and #ids < #candidates do
  credit = credit - 1
  ids[#ids + 1] = candidates[#ids + 1][1]
  redis.call('ZADD', P .. 'aged', now, ids[#ids])
  redis.call('HSET', message_key(ids[#ids]), 'extra', 1)
end
redis.call('HSET', P .. 'ageing', 'credit', tostring(credit))
return ids
