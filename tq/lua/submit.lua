-- Accept a message, or say which one it repeats.
-- ARGV: id, fingerprint, idempotency digest or '', priority, body, languages, sealed key or '', max queued, account,
--       what it may spend a day, in billionths (0 = anything), where its submission is traced or '', host:port of the
--       one to be called back or '', body without its content, what is searched for text or ''
-- -> {outcome, what, now, queued, 1 if its queue is paused, else 0}: 'new', 'same', 'idempotency-conflict' or 'duplicate',
--    and the id; 'full' and how many wait; 'budget' and what was spent | an OOM error
local id, print, idempotency, priority, body, languages, sealed = unpack(ARGV)
local queued = redis.call('ZCARD', status_key('queued'))
local function answer(outcome, what) return { outcome, what, now, queued, is_paused(queue_by(priority)) and 1 or 0 } end
if idempotency ~= '' then
  local known = redis.call('GET', P .. 'idempotency:' .. idempotency)
  if known then
    local known_print, known_id = known:match('^(%S+) (.+)$')
    if redis.call('EXISTS', message_key(known_id)) == 1 then
      return answer(known_print == print and 'same' or 'idempotency-conflict', known_id)
    end
  end
end
local known_print = redis.call('HGET', message_key(id), 'print')
if known_print then return answer(known_print == print and 'same' or 'duplicate', id) end
-- Counted even when the memory is full.
local function refuse(reason)
  even_when_full()
  tally('refused:' .. reason)
end
if queued >= tonumber(ARGV[8]) then
  refuse('queue-full')
  return answer('full', tostring(queued))
end
local spent = overspent(ARGV[9], tonumber(ARGV[10]))
if spent then
  refuse('budget-exceeded')
  return answer('budget', spent)
end

-- What was accepted needs some memory on its way, and workers need some to start: a part is kept for them.
-- How much is left is asked for five times a second at most; without the right to ask, Redis itself refuses.
local full = redis.call('GET', P .. 'full')
if not full then
  local memory = redis.pcall('INFO', 'memory')
  memory = type(memory) == 'string' and memory or ''
  local used, most = tonumber(memory:match('used_memory:(%d+)')), tonumber(memory:match('maxmemory:(%d+)'))
  full = used and most and most > 0 and used > most - math.min(most / 10, 67108864) and '1' or '0'
  redis.call('SET', P .. 'full', full, 'PX', 200)
end
if full == '1' then return redis.error_reply("OOM too little is left below 'maxmemory'") end

-- The first write decides whether a full server refuses the script: this one must be refused.
local seq = redis.call('INCR', P .. 'seq')
-- A record that expired a moment ago may still stand in indexes, for the reaper to tidy up.
if redis.call('ZREM', P .. 'ended', id) == 1 then leave_indexes(id) end
local m = { status = 'queued', priority = priority, seq = seq, languages = languages,
  attempts = 0, payer = ARGV[9] }
redis.call('HSET', message_key(id), 'status', 'queued', 'priority', priority, 'seq', m.seq, 'print', print,
  'body', body, 'brief', ARGV[13], 'languages', languages, 'created', now, 'payer', m.payer)
if ARGV[14] ~= '' then redis.call('HSET', message_key(id), 'about', ARGV[14]) end
if ARGV[11] ~= '' then redis.call('HSET', message_key(id), 'trace', ARGV[11]) end
if sealed ~= '' then
  redis.call('SET', P .. 'sealed:' .. id, sealed)
  redis.call('HSET', message_key(id), 'own_key', 1)
end
if ARGV[12] ~= '' then redis.call('HSET', message_key(id), 'hook', ARGV[12]) end
if idempotency ~= '' then
  redis.call('SET', P .. 'idempotency:' .. idempotency, print .. ' ' .. id)
  redis.call('HSET', message_key(id), 'idempotency', idempotency)
end
redis.call('ZADD', status_key('queued'), m.seq, id)
redis.call('ZADD', open_key(m), now, id)
line_up(id, m)
record_change(id, m)
tally('submitted')
queued = queued + 1
return answer('new', id)
