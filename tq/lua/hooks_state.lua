-- How many webhooks are not delivered yet, and for how long the one has been due that has been for longest; one that is
-- under way, or is sent again later, is not due. ARGV: receivers that are counted at most
-- -> {how many, ms}
local receivers = redis.call('ZRANGE', P .. 'hooks', 0, ARGV[1] - 1, 'WITHSCORES')
local pending = 0
for i = 1, #receivers, 2 do pending = pending + redis.call('ZCARD', hooks_key(receivers[i])) end
return { pending, receivers[2] and math.max(0, now - receivers[2]) or 0 }
