-- Give a queued message to one owner; the epoch is the fence that all its later calls carry.
-- ARGV: id, owner (unique to this claim), lease in ms, model for a message that names none
-- -> {epoch, sealed key or '', record as a flat list, id that goes to the front or ''} | {'stale', status}
--    | {'paused', queue} | {'gone'}
even_when_full()
local id, owner, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
local m = load(id)
if not m then return { 'gone' } end
local key = message_key(id)

-- Accounts take turns within a priority, although tokens come in the order of their messages: when this account has
-- another turn, and another one in line has had none since its last, that one's first message is called to the
-- front. What was called calls nobody, so that at least every other slot goes by the order of arrival.
local function call(last, turn)
  local payer, theirs = unpack(redis.call('ZRANGE', turns_key(m), 0, 0, 'WITHSCORES'))
  if not payer or payer == m.payer or tonumber(theirs) >= last then return '' end
  local line = line_key(m, payer)
  local called = redis.call('ZPOPMIN', line)[1]
  if redis.call('EXISTS', line) == 1 then
    redis.call('ZADD', turns_key(m), turn, payer)
  else
    redis.call('ZREM', turns_key(m), payer)
  end
  if not called or redis.call('EXISTS', message_key(called)) == 0 then return '' end
  -- At the front it says no more of lost tokens than the one that stood there (missing.lua).
  local since = redis.call('HGET', key, 'queued') or redis.call('HGET', key, 'created')
  redis.call('HSET', message_key(called), 'extra', 1, 'called', since)
  return called
end

-- The model that is asked, for those who watch. A brief begins with its name, so that it need not be decoded whole.
local function model_asked()
  local fallback = redis.call('HGET', key, 'fallback_model')
  if fallback then return fallback end
  local brief = brief_of(key) or ''
  if brief:sub(1, 18) == '{"model_name":null' then return ARGV[4] end
  local named = brief:match('^{"model_name":"([^"\\]+)"') or brief:find('"model_name"', 1, true) and cjson.decode(brief).model_name
  return named and named ~= cjson.null and named or ARGV[4]
end

local called = ''
if m.status == 'queued' then
  local queue = queue_of(m)
  if is_paused(queue) then
    -- Its token is used up: it gets another one when the queue is resumed (reap.lua).
    redis.call('ZADD', held_key(queue), redis.call('ZSCORE', queued_key(m), id) or now, id)
    return { 'paused', queue }
  end
  m.epoch = m.epoch + 1
  m.attempts = m.attempts + 1
  redis.call('HSET', key, 'epoch', m.epoch, 'attempts', m.attempts, 'owner', owner, 'started', now, 'model', ARGV[4])
  local turn = redis.call('INCR', P .. 'claims')
  local in_line = m.payer and redis.call('ZSCORE', line_key(m, m.payer), id)
  local last = in_line and redis.call('ZSCORE', turns_key(m), m.payer)
  if last then redis.call('ZADD', turns_key(m), turn, m.payer) end
  move(id, m, 'running', { until_ = now + lease, info = model_asked() })
  if last then called = call(tonumber(last), turn) end
elseif not (m.status == 'running' and m.owner == owner) then
  -- The same owner asking again lost our first answer: it gets it once more.
  return { 'stale', m.status }
end
return { m.epoch, redis.call('GET', P .. 'sealed:' .. id) or '', redis.call('HGETALL', key), called }
