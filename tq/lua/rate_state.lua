-- The rate limits of the accounts used last, those first that are slowed down or stopped. ARGV: how many at most
-- -> JSON list
local clock = time[1] + time[2] / 1e6
local most = tonumber(ARGV[1])
local busy, others = {}, {}
local names = redis.call('ZRANGE', P .. 'limits', '+inf', '(' .. now, 'BYSCORE', 'REV', 'LIMIT', 0, most * 10)
for _, name in ipairs(names) do
  local raw = redis.call('GET', P .. 'limit:' .. name)
  if raw then
    local s = cjson.decode(raw)
    local function left(moment) return math.max(0, (moment or 0) - clock) end
    local out = {
      label = s.label, sent = s.sent, refused = s.refused, cool = left(s.cool), exhausted = left(s.exhausted),
      waiting = math.max(left(s.slow.far), left(s.fast.far), left(s.slow.near), left(s.fast.near)), limits = {},
    }
    for dimension, b in pairs(s.buckets) do
      out.limits[dimension] = { math.floor(b.rate * (b.source == '429' and 1 or s.pace) * 60 + 0.5), b.source }
    end
    local list = (out.cool > 0 or out.exhausted > 0 or out.waiting > 0) and busy or others
    list[#list + 1] = out
  end
end
for _, out in ipairs(others) do busy[#busy + 1] = out end
local kept = {}
for i = 1, math.min(most, #busy) do kept[i] = busy[i] end
return #kept == 0 and '[]' or cjson.encode(kept)
