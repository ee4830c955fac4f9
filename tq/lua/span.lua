-- Which part of the changes is still there. -> {id before the first, '' when none was ever lost; newest id}
local key = P .. 'changes'
if redis.call('EXISTS', key) == 0 then return { '', '0-0' } end
local info = {}
local flat = redis.call('XINFO', 'STREAM', key)
for i = 1, #flat, 2 do info[flat[i]] = flat[i + 1] end
local first = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
-- Redis before 7 does not count what was added: a stream that is as long as it may be was longer.
local added = info['entries-added'] or (info['length'] >= CHANGES_KEPT and info['length'] + 1 or info['length'])
if added <= info['length'] then return { '', info['last-generated-id'] } end
return { first and first[1] or info['last-generated-id'], info['last-generated-id'] }
