-- Record how an attempt ended. Only the owner of the epoch may, and only while the message runs.
-- ARGV: id, epoch, status to enter, delay in ms (retrying), TTL in ms (ended), info, prompt tokens,
--       completion tokens, retries spent more by this, what the tokens cost in billionths or '' (not known),
--       account that pays or '', 1 if it was put off without an attempt, calls to the provider as tallies.encode_calls says,
--       model that was asked or '',
--       then field, value, ...
-- -> 'ok' | 'lost' (someone else's, or not running any more, or no run leads there) | 'gone'
even_when_full()
local id, epoch, to = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local m, key = load(id), message_key(id)
if not m then return 'gone' end
if m.epoch ~= epoch then return 'lost' end
-- Asked twice because our first answer was lost on the way: it is applied already.
if m.status == to and redis.call('HGET', key, 'settled') == ARGV[2] then return 'ok' end
if m.status ~= 'running' then
  book_late(id, m, epoch, ARGV[7], ARGV[8], ARGV[10], ARGV[11])
  return 'lost'
end
if not LEGAL.running[to] then return 'lost' end
redis.call('HSET', key, 'settled', epoch)
redis.call('HDEL', key, 'owner')
for i = 15, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', key, ARGV[i]) else redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
end
if ARGV[9] ~= '0' then redis.call('HINCRBY', key, 'retries', ARGV[9]) end
if ARGV[12] == '1' then m.attempts = redis.call('HINCRBY', key, 'attempts', -1) end
book(key, ARGV[7], ARGV[8], ARGV[10], ARGV[11], ENDED[to])
-- The checks that its answer did not pass, by name.
local checks = {}
for i = 15, #ARGV, 2 do
  if ARGV[i] == 'error' and ARGV[i + 1]:find('"violations"', 1, true) then
    for _, broken in ipairs(cjson.decode(ARGV[i + 1]).violations or {}) do checks[#checks + 1] = broken.rule end
  end
end
m.model = ARGV[14]
local options = { until_ = now + tonumber(ARGV[4]), ttl = tonumber(ARGV[5]), info = ARGV[6],
  spent = { ARGV[7], ARGV[8], ARGV[10] }, checks = table.concat(checks, ',') }
if ARGV[12] == '1' then
  options.outcome = 'deferred'
elseif to == 'failed' or to == 'retrying' then
  options.reason = ARGV[6]
end
move(id, m, to, options)
if ARGV[13] ~= '' then
  local took
  for item in ARGV[13]:gmatch('[^,]+') do
    if took then tally('calls:' .. item) else took = item end
  end
  tally('calls:sum', took)
end
return 'ok'
