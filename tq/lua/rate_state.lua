-- The rate limits of accounts, those first that are slowed down or stopped. ARGV: how many at most, then digests of accounts
-- that are always among them, however many others were used since
-- -> JSON list
local clock = time[1] + time[2] / 1e6
local most = tonumber(ARGV[1])
local seen = {}
local function look(name)
  local raw = not seen[name] and redis.call('GET', P .. 'limit:' .. name)
  seen[name] = true
  if not raw then return nil end
  local s = cjson.decode(raw)
  local function left(moment) return math.max(0, (moment or 0) - clock) end
  local out = {
    label = s.label, sent = s.sent, refused = s.refused, cool = left(s.cool), exhausted = left(s.exhausted),
    waiting = math.max(left(s.slow.far), left(s.fast.far), left(s.slow.near), left(s.fast.near)), limits = {},
  }
  for dimension, b in pairs(s.buckets) do
    out.limits[dimension] = { math.floor(b.rate * (b.source == '429' and 1 or s.pace) * 60 + 0.5), b.source }
  end
  return out, out.cool > 0 or out.exhausted > 0 or out.waiting > 0
end

local always, busy, others = {}, {}, {}
for i = 2, #ARGV do always[#always + 1] = look(ARGV[i]) end
for _, name in ipairs(redis.call('ZRANGE', P .. 'limits', '+inf', '(' .. now, 'BYSCORE', 'REV', 'LIMIT', 0, most * 10)) do
  local out, is_busy = look(name)
  if out then table.insert(is_busy and busy or others, out) end
end
local kept = {}
for _, list in ipairs({ always, busy, others }) do
  for _, out in ipairs(list) do
    if #kept < most then kept[#kept + 1] = out end
  end
end
local function ranked(out) return (out.cool > 0 or out.exhausted > 0 or out.waiting > 0) and 0 or 1 end
local ordered = {}
for rank = 0, 1 do
  for _, out in ipairs(kept) do
    if ranked(out) == rank then ordered[#ordered + 1] = out end
  end
end
return #ordered == 0 and '[]' or cjson.encode(ordered)
