-- What is remembered under a digest, or the right to find it out.
-- ARGV: digest, owner (unique to this question), lease in ms
-- -> {'found', value} | {'yours'} | {'busy'}
even_when_full()
local digest, owner = ARGV[1], ARGV[2]
local found = redis.call('GET', P .. 'memory:' .. digest)
if found then
  redis.call('ZADD', P .. 'memory', 'XX', now, digest)
  return { 'found', found }
end
local key = P .. 'asked:' .. digest
if redis.call('SET', key, owner, 'NX', 'PX', ARGV[3]) then return { 'yours' } end
-- The same owner asking again lost our first answer.
return { redis.call('GET', key) == owner and 'yours' or 'busy' }
