-- Messages with certain things in common, newest first, over one or all statuses.
-- ARGV: filters as JSON, seq to begin below or '+inf', how many are wanted, how many to look at, status, ...
-- -> {seq of the last that was looked at, or '' when there are no more; flat list of id, seq}
local CHUNK = 200
local wanted = cjson.decode(ARGV[1])
local below, limit, most = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

local function is_within(tag, language)
  tag = tag:lower()
  return tag == language or tag:sub(1, #language + 1) == language .. '-'
end

local function type_of(error)
  local known, record = pcall(cjson.decode, error or '')
  return known and record.type
end

local function matches(id)
  if wanted.prefix and id:sub(1, #wanted.prefix) ~= wanted.prefix then return false end
  local v = redis.call('HMGET', message_key(id), 'priority', 'languages', 'detected', 'about')
  if not v[1] then return false end
  if wanted.priority and tonumber(v[1]) ~= wanted.priority then return false end
  local source, target = (v[2] or ''):match('^(.-)→(.*)$')
  if wanted.to and not is_within(target or '', wanted.to) then return false end
  if wanted.source and not is_within(source ~= '' and source or v[3] or '', wanted.source) then return false end
  if wanted.q and not (id:lower():find(wanted.q, 1, true) or (v[4] or ''):find(wanted.q, 1, true)) then return false end
  if wanted.error and type_of(redis.call('HGET', message_key(id), 'error')) ~= wanted.error then return false end
  if wanted.callback then
    local hook = redis.call('HMGET', message_key(id), 'hook', 'hook_state')
    if not hook[1] or (hook[2] or 'waiting') ~= wanted.callback then return false end
  end
  if wanted.model then
    local models, brief = redis.call('HMGET', message_key(id), 'fallback_model', 'model'), brief_of(message_key(id))
    local named = brief and cjson.decode(brief).model_name
    if (models[1] or (named ~= cjson.null and named) or models[2]) ~= wanted.model then return false end
  end
  return true
end

local out, looked, last = {}, 0, ''
local function look_at(id, seq)
  looked, last = looked + 1, seq
  if matches(id) then
    out[#out + 1] = id
    out[#out + 1] = seq
  end
  return #out < 2 * limit and looked < most
end

while true do
  local top = {}
  for i = 5, #ARGV do
    local found = redis.call('ZRANGE', status_key(ARGV[i]), below == '+inf' and below or '(' .. below, '-inf', 'BYSCORE',
      'REV', 'LIMIT', 0, CHUNK, 'WITHSCORES')
    for j = 1, #found, 2 do top[#top + 1] = { found[j], found[j + 1] } end
  end
  if #top == 0 then return { '', out } end
  table.sort(top, function(a, b) return tonumber(a[2]) > tonumber(b[2]) end)
  for i = 1, math.min(#top, CHUNK) do
    if not look_at(top[i][1], top[i][2]) then return { last, out } end
  end
  below = last
end
