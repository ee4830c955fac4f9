-- A person or program wants a failed or cancelled message tried again.
-- ARGV: id, newly sealed key or '', a word of this request alone
-- -> 'ok' | 'gone' | 'missing-key' | the status that forbids it
local id = ARGV[1]
local m = load(id)
if not m then return 'gone' end
if repeated(id, ARGV[3]) then return 'ok' end
if not ENDED[m.status] or not LEGAL[m.status].queued then return m.status end
if not revive(id, m, ARGV[2]) then return 'missing-key' end
redis.call('HSET', message_key(id), 'request', ARGV[3])
return 'ok'
