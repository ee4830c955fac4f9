-- Shared by every script; see store.py for the keys and their types.
-- KEYS[1] is the prefix of all keys. LEGAL, QUEUES, QUARANTINE and HIGH_FROM are put in front by store.py, from messages.py.
local P = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local CHANGES_KEPT = 10000
local RATE_WINDOW = 10000

-- At maxmemory a script whose first write could need memory is refused. Work that was accepted must go
-- on and come to its end, which frees memory: such scripts begin with a write that needs none.
local function even_when_full() redis.call('DEL', P .. 'nothing') end

local function message_key(id) return P .. 'message:' .. id end
local function status_key(status) return P .. 'status:' .. status end
local function queued_key(m) return P .. 'queued:' .. (m.queue or m.priority) end
local function turns_key(m) return P .. 'turns:' .. m.priority end
local function queue_by(priority) return tonumber(priority) >= HIGH_FROM and 'high_priority' or 'default' end
local function queue_of(m) return m.queue or queue_by(m.priority) end
local function is_paused(queue) return redis.call('SISMEMBER', P .. 'paused', queue) == 1 end
local function held_key(queue) return P .. 'held:' .. queue end
local function failed_key(kind) return P .. 'failed:' .. kind end
-- By priority, also in quarantine: nobody who waits for a message knows that it is there.
local function open_key(m) return P .. 'open:' .. queue_by(m.priority) end
local function line_key(m, payer) return P .. 'line:' .. m.priority .. ':' .. payer end

-- What was submitted, as JSON: without its content, unless it was an older version that submitted it.
local function brief_of(key) return redis.call('HGET', key, 'brief') or redis.call('HGET', key, 'body') end

-- What a transition needs of a record; nil when there is none.
local function load(id)
  local v = redis.call('HMGET', message_key(id), 'status', 'priority', 'queue', 'seq', 'epoch', 'attempts',
    'languages', 'owner', 'crashes', 'idempotency', 'provider', 'payer', 'started', 'log', 'hook')
  if not v[1] then return nil end
  return {
    status = v[1], priority = v[2], queue = v[3] or nil, seq = v[4], epoch = tonumber(v[5] or '0'),
    attempts = tonumber(v[6] or '0'), languages = v[7] or '', owner = v[8] or '', crashes = tonumber(v[9] or '0'),
    idempotency = v[10] or nil, provider = v[11] or '', payer = v[12] or nil, started = v[13] or nil,
    log = v[14] or '', hook = v[15] or nil,
  }
end

-- An index entry without a record: someone has deleted keys by hand.
local function drop(id, index)
  redis.call('ZREM', index, id)
  redis.call('ZREM', status_key('queued'), id)
  redis.call('ZREM', P .. 'aged', id)
  redis.call('ZREM', P .. 'republished', id)
  for _, queue in ipairs(QUEUES) do redis.call('ZREM', P .. 'open:' .. queue, id) end
end

local function record_change(id, m, info)
  return redis.call('XADD', P .. 'changes', 'MAXLEN', '~', CHANGES_KEPT, '*', 'id', id, 's', m.status, 'p', m.priority,
    'l', m.languages, 'a', m.attempts, 'i', info or '')
end

-- The message's own history outlives the stream: a line for each change after the first, the newest of them.
local LOG_KEPT = 6000
local function log_change(id, m, cursor, options)
  local function plain(text) return (text:gsub('%c', ' ')) end
  local spent = options.spent or {}
  local entry = table.concat({ cursor, m.status, m.attempts, plain(options.info or ''),
    m.status == 'running' and '' or plain(m.model or ''), spent[1] or 0, spent[2] or 0, spent[3] or '',
    options.checks or '' }, '\t')
  local log = m.log == '' and entry or m.log .. '\n' .. entry
  if #log > LOG_KEPT then log = log:sub((log:find('\n', #log - LOG_KEPT, true) or 0) + 1) end
  m.log = log
  redis.call('HSET', message_key(id), 'log', log)
end

local function count(what)
  local key = P .. 'rate:' .. math.floor(now / RATE_WINDOW)
  if redis.call('HINCRBY', key, what, 1) == 1 then redis.call('PEXPIRE', key, RATE_WINDOW * 8) end
end

-- What came of attempts and messages, for ever; tallies.py names the fields and reads them.
local function tally(field, by) redis.call('HINCRBY', P .. 'totals', field, by or 1) end

-- The same by the minute, for an hour and the minute that is not over.
local MINUTE, MINUTES_KEPT = 60000, 62
local function tally_minute(field)
  local key = P .. 'minute:' .. math.floor(now / MINUTE)
  if redis.call('HINCRBY', key, field, 1) == 1 then redis.call('PEXPIRE', key, MINUTES_KEPT * MINUTE) end
end
local function tally_both(field)
  tally(field)
  tally_minute(field)
end

-- An attempt ended; completed ones by how long they took, too, in steps of a fifth.
local OUTCOMES = {
  completed = 'completed', failed = 'failed', retrying = 'retried', cancelled = 'cancelled', queued = 'released',
}
local function tally_attempt(m, to, options)
  tally_both((options.outcome or OUTCOMES[to]) .. ':' .. (options.reason or ''))
  if to ~= 'completed' or not m.started then return end
  tally_minute('b' .. math.ceil(4 * math.log(math.max(1, now - m.started)) / math.log(2)))
end

-- What was spent is kept per UTC day of the server's clock, for five weeks.
local SPEND_KEPT = 35 * 86400000
-- A day of the server's clock as YYYYMMDD (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_to_civil).
local function date_of(milliseconds)
  local z = math.floor(milliseconds / 86400000) + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return string.format('%04d%02d%02d', year, month, doy - math.floor((153 * mp + 2) / 5) + 1)
end
local today = date_of(now)
local function spend_key(account) return P .. 'spend:' .. account .. ':' .. today end
local function spenders_key() return P .. 'spenders:' .. today end

-- What an account has spent today, once that is all that it may, in billionths (0 = anything); else nil.
local function overspent(account, budget)
  if budget == 0 then return nil end
  local spent = redis.call('HGET', spend_key(account), 'cost') or '0'
  return tonumber(spent) >= budget and spent or nil
end

-- Put what was spent on the message's bill, and on its payer's ('' = nobody's); `cost` '' = its price is not known.
local function book(key, prompt, completion, cost, account, ended)
  local tokens = prompt + completion
  local unpriced = tokens > 0 and cost == ''
  if prompt ~= '0' then redis.call('HINCRBY', key, 'prompt_tokens', prompt) end
  if completion ~= '0' then redis.call('HINCRBY', key, 'completion_tokens', completion) end
  if cost ~= '' and tokens > 0 then redis.call('HINCRBY', key, 'cost', cost) end
  if unpriced then redis.call('HSET', key, 'unpriced', 1) end
  if account == '' or not (tokens > 0 or ended) then return end
  redis.call('ZINCRBY', spenders_key(), tokens, account)
  redis.call('PEXPIRE', spenders_key(), SPEND_KEPT)
  for _, payer in ipairs({ account, 'total' }) do
    local spend = spend_key(payer)
    redis.call('HINCRBY', spend, 'prompt_tokens', prompt)
    redis.call('HINCRBY', spend, 'completion_tokens', completion)
    redis.call('HINCRBY', spend, 'cost', cost == '' and 0 or cost)
    if unpriced then redis.call('HINCRBY', spend, 'unpriced', tokens) end
    if ended then redis.call('HINCRBY', spend, 'messages', 1) end
    redis.call('PEXPIRE', spend, SPEND_KEPT)
  end
end

-- What an attempt has cost whose message was cancelled meanwhile, or given back by its lease: it is owed all the same,
-- once, as long as no later attempt has begun.
local function book_late(id, m, epoch, prompt, completion, cost, account)
  if m.status == 'running' or m.epoch ~= epoch or epoch == 0 or prompt + completion == 0 then return end
  local key, fence = message_key(id), tostring(epoch)
  local booked = redis.call('HMGET', key, 'settled', 'booked')
  if booked[1] == fence or booked[2] == fence then return end
  redis.call('HSET', key, 'booked', fence)
  book(key, prompt, completion, cost, account, false)
end

-- Whether this very request was applied before: its answer got lost, and it is sent again.
local function repeated(id, nonce) return redis.call('HGET', message_key(id), 'request') == nonce end

-- Of each priority, `turns` says which accounts have messages in line, and at which claim they had a turn.
local function line_up(id, m)
  redis.call('ZADD', queued_key(m), now, id)
  if m.queue or not m.payer then return end
  redis.call('ZADD', line_key(m, m.payer), now, id)
  -- As if it just had one: who comes and goes must not pass by those who stay.
  redis.call('ZADD', turns_key(m), 'NX', redis.call('GET', P .. 'claims') or 0, m.payer)
end

local function step_out(id, m)
  redis.call('ZREM', queued_key(m), id)
  if not m.payer or redis.call('ZREM', line_key(m, m.payer), id) == 0 then return end
  if redis.call('EXISTS', line_key(m, m.payer)) == 0 then redis.call('ZREM', turns_key(m), m.payer) end
end

local ENDED = { completed = true, failed = true, cancelled = true }

-- Failed messages by the type of their error. Every record of an error begins with it (errors.py).
local function kind_of(id) return (redis.call('HGET', message_key(id), 'error') or ''):match('^{%s*"type":%s*"([%w-]+)"') or 'other' end
local function leave_failures(kind, id)
  if redis.call('ZREM', failed_key(kind), id) == 1 and redis.call('EXISTS', failed_key(kind)) == 0 then
    redis.call('SREM', P .. 'failures', kind)
  end
end
local function enter_failures(id, m)
  local kind = kind_of(id)
  redis.call('ZADD', failed_key(kind), m.seq, id)
  redis.call('SADD', P .. 'failures', kind)
end

-- Of a message that has ended, when its record is gone: nobody knows any more how it did.
local function leave_indexes(id)
  for status in pairs(ENDED) do redis.call('ZREM', status_key(status), id) end
  for _, kind in ipairs(redis.call('SMEMBERS', P .. 'failures')) do leave_failures(kind, id) end
end

-- Webhooks: of each receiver (host:port) what is due to it, and the receivers by the first of theirs. Where nobody
-- delivers they go with the messages.
local HOOKS_KEPT = 4 * 86400000
local function hooks_key(receiver) return P .. 'hooks:' .. receiver end
local function snapshot_key(event) return P .. 'hook:' .. event end

local function tell_receiver(receiver)
  local first = redis.call('ZRANGE', hooks_key(receiver), 0, 0, 'WITHSCORES')
  if first[2] then
    redis.call('ZADD', P .. 'hooks', first[2], receiver)
    redis.call('PEXPIRE', P .. 'hooks', HOOKS_KEPT)
    redis.call('PEXPIRE', hooks_key(receiver), HOOKS_KEPT)
  else
    redis.call('ZREM', P .. 'hooks', receiver)
  end
end

-- Due in the script that ends the message, so that neither is without the other. Each ending is an event of its own.
local function call_back(id, m, cursor)
  local key, event = message_key(id), 'evt_' .. redis.sha1hex(id .. ' ' .. cursor):sub(1, 32)
  redis.call('HSET', key, 'hook_state', 'pending', 'hook_event', event, 'hook_due', now)
  redis.call('ZADD', hooks_key(m.hook), now, event .. ' ' .. id)
  tell_receiver(m.hook)
end

-- The message lives again: what was not yet told of its end is told of it as it is now.
local function keep_hook(id)
  local key = message_key(id)
  local event, state = unpack(redis.call('HMGET', key, 'hook_event', 'hook_state'))
  if state == 'pending' then
    redis.call('COPY', key, snapshot_key(event))
    redis.call('PEXPIRE', snapshot_key(event), HOOKS_KEPT)
  end
  redis.call('HDEL', key, 'hook_state', 'hook_event', 'hook_due', 'hook_attempts', 'hook_before', 'hook_http', 'hook_error',
    'hook_at')
end

-- The key of the record that an event is about, or nil.
local function told_of(event, id)
  if redis.call('EXISTS', snapshot_key(event)) == 1 then return snapshot_key(event) end
  if redis.call('HGET', message_key(id), 'hook_event') == event then return message_key(id) end
end

-- Everything that a status carries with it besides the record's own fields: the indexes, the keys
-- of the message, their TTL. `until_` is when a lease ends or a retry is due; `ttl` in milliseconds;
-- `outcome` and `reason` are what an attempt is counted as.
local function move(id, m, to, options)
  local from = m.status
  if not (LEGAL[from] and LEGAL[from][to]) then return false end
  local key = message_key(id)
  redis.call('ZREM', status_key(from), id)
  if from == 'queued' then
    step_out(id, m)
    redis.call('ZREM', P .. 'republished', id)
    redis.call('ZREM', P .. 'aged', id)
    redis.call('ZREM', held_key(queue_of(m)), id)
  elseif from == 'running' then
    redis.call('ZREM', P .. 'leases', id)
  elseif from == 'retrying' then
    redis.call('ZREM', P .. 'due', id)
    redis.call('HDEL', key, 'due')
  else
    redis.call('ZREM', P .. 'ended', id)
    redis.call('ZADD', open_key(m), now, id)
    if from == 'failed' then leave_failures(kind_of(id), id) end
    redis.call('PERSIST', key)
    redis.call('PERSIST', P .. 'parts:' .. id)
    redis.call('HDEL', key, 'finished', 'error')
    if m.idempotency then redis.call('PERSIST', P .. 'idempotency:' .. m.idempotency) end
  end
  if from == 'running' then tally_attempt(m, to, options) elseif ENDED[to] then tally_both('ended:' .. to) end
  m.status = to
  redis.call('ZADD', status_key(to), m.seq, id)
  redis.call('HSET', key, 'status', to)
  if to == 'queued' then
    line_up(id, m)
    redis.call('HSET', key, 'queued', now)
  elseif to == 'running' then
    redis.call('ZADD', P .. 'leases', options.until_, id)
    count('attempts')
  elseif to == 'retrying' then
    redis.call('ZADD', P .. 'due', options.until_, id)
    redis.call('HSET', key, 'due', options.until_)
  else
    redis.call('HSET', key, 'finished', now)
    redis.call('ZREM', open_key(m), id)
    if to == 'completed' then redis.call('HDEL', key, 'error') end
    if to == 'failed' then enter_failures(id, m) end
    redis.call('DEL', P .. 'sealed:' .. id)
    -- A failed text may be tried again: what is done of it is paid for.
    if to == 'failed' then redis.call('PEXPIRE', P .. 'parts:' .. id, options.ttl) else redis.call('DEL', P .. 'parts:' .. id) end
    -- With a webhook it is kept until that is delivered or given up (hooks_settle.lua).
    local ttl = m.hook and math.max(options.ttl, HOOKS_KEPT) or options.ttl
    redis.call('PEXPIRE', key, ttl)
    redis.call('ZADD', P .. 'ended', now + ttl, id)
    if m.idempotency then redis.call('PEXPIRE', P .. 'idempotency:' .. m.idempotency, options.ttl) end
    count(to)
  end
  local cursor = record_change(id, m, options and options.info)
  log_change(id, m, cursor, options or {})
  if m.hook and ENDED[to] then call_back(id, m, cursor) end
  return true
end

-- Whether it had a key of its own, deleted since, and is not given one again: it must not run on somebody else's.
local function lacks_key(id, sealed) return sealed == '' and redis.call('HEXISTS', message_key(id), 'own_key') == 1 end

-- A new life for a message that has ended: a new budget of retries, out of quarantine.
local function revive(id, m, sealed)
  local key = message_key(id)
  if m.hook then keep_hook(id) end
  -- What it has cost so far was paid: that stays.
  redis.call('HDEL', key, 'retries', 'crashes', 'queue', 'warnings', 'translation', 'model', 'provider', 'cached',
    'detected', 'fallback', 'fallback_model', 'switched')
  m.queue = nil
  if sealed ~= '' then
    redis.call('SET', P .. 'sealed:' .. id, sealed)
    redis.call('HSET', key, 'own_key', 1)
  end
  return move(id, m, 'queued')
end
