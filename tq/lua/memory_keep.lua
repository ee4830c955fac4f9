-- The end of a question: what was found is kept (nothing, if it is ''), and the next may ask.
-- ARGV: digest, owner or '', value or '', TTL in ms, most entries
local digest, owner, value, ttl = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if owner ~= '' and redis.call('GET', P .. 'asked:' .. digest) == owner then redis.call('DEL', P .. 'asked:' .. digest) end
-- Where submits are refused already, there is no room for economies.
if value == '' or redis.call('GET', P .. 'full') == '1' then return end
redis.call('SET', P .. 'memory:' .. digest, value, 'PX', ttl)
redis.call('ZADD', P .. 'memory', now, digest)
redis.call('PEXPIRE', P .. 'memory', ttl)
-- Those longest unused go first: two at most for each that comes, so that a smaller bound is reached in time.
local over = redis.call('ZCARD', P .. 'memory') - tonumber(ARGV[5])
if over > 0 then
  local oldest = redis.call('ZPOPMIN', P .. 'memory', math.min(over, 2))
  for i = 1, #oldest, 2 do redis.call('DEL', P .. 'memory:' .. oldest[i]) end
end
