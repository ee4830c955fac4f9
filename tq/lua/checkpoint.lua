-- Keep a part of a long text that is done, and book what was spent so far. Only the owner of the epoch may.
-- ARGV: id, epoch, digest of the part, its translation, prompt tokens, completion tokens, cost or '', account or ''
-- -> 'ok' | 'lost'
even_when_full()
local id, digest = ARGV[1], ARGV[3]
local m = load(id)
if not m or m.status ~= 'running' or m.epoch ~= tonumber(ARGV[2]) then return 'lost' end
-- Asked twice because our first answer was lost on the way: it is booked already.
if redis.call('HGET', P .. 'parts:' .. id, digest) == ARGV[4] then return 'ok' end
redis.call('HSET', P .. 'parts:' .. id, digest, ARGV[4])
book(message_key(id), ARGV[5], ARGV[6], ARGV[7], ARGV[8], false)
return 'ok'
