-- A person or program wants a failed or cancelled message tried again.
-- ARGV: id, newly sealed key or '', a word of this request alone, account, what it may spend a day, in billionths
--       (0 = anything)
-- -> {'ok' | 'gone' | 'missing-key' | the status that forbids it} | {'budget', spent, now}
local id = ARGV[1]
local m = load(id)
if not m then return { 'gone' } end
if repeated(id, ARGV[3]) then return { 'ok' } end
if not ENDED[m.status] or not LEGAL[m.status].queued then return { m.status } end
if lacks_key(id, ARGV[2]) then return { 'missing-key' } end
local spent = overspent(ARGV[4], tonumber(ARGV[5]))
if spent then return { 'budget', spent, now } end
revive(id, m, ARGV[2])
redis.call('HSET', message_key(id), 'request', ARGV[3])
return { 'ok' }
