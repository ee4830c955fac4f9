-- Newest first over one or all statuses, in one look so that a message on the move is seen once.
-- ARGV: seq to begin below or '+inf', how many, status, ... -> flat list of id, seq
local top = {}
for i = 3, #ARGV do
  local bound = ARGV[1] == '+inf' and '+inf' or '(' .. ARGV[1]
  local entries = redis.call('ZRANGE', status_key(ARGV[i]), bound, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[2],
    'WITHSCORES')
  for j = 1, #entries, 2 do top[#top + 1] = { entries[j], tonumber(entries[j + 1]) } end
end
table.sort(top, function(a, b) return a[2] > b[2] end)
local out = {}
for i = 1, math.min(#top, tonumber(ARGV[2])) do
  out[#out + 1] = top[i][1]
  out[#out + 1] = tostring(top[i][2])
end
return out
