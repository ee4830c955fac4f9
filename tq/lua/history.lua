-- What was counted by the minute. ARGV: how many minutes -> {now, number of the minute, its fields, ...}
local out = { now }
local last = math.floor(now / MINUTE)
for number = last - tonumber(ARGV[1]) + 1, last do
  local fields = redis.call('HGETALL', P .. 'minute:' .. number)
  if #fields > 0 then
    out[#out + 1] = number
    out[#out + 1] = fields
  end
end
return out
