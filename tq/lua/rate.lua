-- The rate limit of one account (endpoint, key, model), shared by all workers: its state is one JSON string.
-- Sent twice, an ask takes a slot that nobody uses; everything else changes nothing more.
-- ARGV: account, its label as JSON, configured limits a minute of requests and of tokens (0 = none), calls that were
-- sent without asking and not yet told of, what they are counted as, a verb:
--   look     whether an answer came (1 | 0)
--            -> {'free', whether anyone had an answer} | {'ask'}
--   ask      tokens, urgent (1 | 0), again (1 = after a wait), longest wait in seconds
--            -> {'go', probe, requests, tokens: so far} | {'wait', s} | {'later', s} | {'exhausted', s}
--            | {'free', as look, requests, tokens}
--   learn    requests and tokens that had been let go when the call was, or -1, -1 and how many have since;
--            seconds since the call, then per limit that an answer told of: name, limit, remaining, period,
--            reset or -1, kind
--   cool     Retry-After in seconds or -1, seconds since the refused call
--   exhaust  seconds
--   revive   (the probe had an answer: there is quota again)
even_when_full()
local clock = time[1] + time[2] / 1e6
local KEY = P .. 'limit:' .. ARGV[1]
local VERB = ARGV[7]

-- Seconds for which an account is kept that nobody uses.
local KEEP = 3600
-- Seconds that a refusal stops an account at most.
local LONGEST_COOL = 86400
-- Of a limit we use so much: the rest is for what comes later than it was sent.
local USED = 0.97
-- What an answer says is left is believed but for this part of the bucket.
local RESERVE = 0.02
-- And but for what fills it in so many seconds, up to a quarter of it: calls do not arrive as evenly as they were sent.
local JITTER = 0.3
-- Seconds after an urgent one's turn in which it may still come before others go.
local GRACE = 0.05
-- Of the slots, one in so many is left to those that are not urgent.
local SHARE = 10
-- Of those put off, so many more are asked back than there will be slots: some will not come.
local OVERBOOKED = 1.5
-- Seconds that somebody is put off at most: while the limit is known, and while it is measured.
local LONGEST, LONGEST_UNSURE = 600, 60
-- While it is being found out, so many a second are asked back at least, in case it is a large one.
local SCOUTS = 100
-- Seconds that headers alone may stop everything; then one call finds out.
local LONGEST_WINDOW = 60
-- Seconds for the one call that finds out whether there is quota again.
local PROBE = 30
-- Without any word on the limit: calls a second after the first refusal; at so many, and after so many seconds
-- without another, there is no limit any more.
local FIRST, LAST, LAST_TRY = 2, 1000, 600
-- Seconds after a pause within which the next refusal says that it was too short, and we are much too fast.
local SOON = 10
-- Seconds in which such a rate grows e-fold: while nothing is known of it, and once it has been measured.
local STEEP, FLAT = 3, 150

local raw = redis.call('GET', KEY)
local s = raw and cjson.decode(raw) or {
  sent = 0, charged = 0, refused = 0, turns = 0, pace = 1, paced = clock, listed = 0, floor = 0, buckets = {},
  slow = { near = 0, far = 0, next = 0 }, fast = { near = 0, far = 0, next = 0 },
}

-- Calls let go in this second or the one before, whichever are more.
local function used()
  local second = math.floor(clock)
  if s.second ~= second then s.before, s.second, s.count = s.second == second - 1 and s.count or 0, second, 0 end
  return math.max(s.before, s.count)
end

-- How fast a bucket fills, a second. A rate that is being found out grows, but not beyond what is tried.
local function speed(b)
  if b.source ~= '429' then return b.rate * s.pace * USED end
  local grown = b.rate * math.exp(math.min(math.max(0, clock - b.since) / b.steep, 4) ^ 2)
  return math.min(grown, math.max(b.rate, 2 * used()))
end

local function refill(b)
  if b.source == '429' then b.cap = math.max(1, speed(b)) end
  if not b.ends then
    b.level = math.min(b.cap, b.level + speed(b) * math.max(0, clock - b.at))
  elseif clock >= b.ends then
    b.level, b.ends = b.fill, nil
  end
  b.at = math.max(b.at, clock)
end

local function bucket(source, limit, rate)
  -- A second's worth at once: what is told of the limit says nothing of bursts.
  local cap = math.max(rate, math.min(2, limit))
  return { source = source, limit = limit, rate = rate, cap = cap, level = cap, at = clock }
end

local function configure(name, limit)
  local b = s.buckets[name]
  local ours = b and b.source == 'settings'
  if limit > 0 and not (ours and b.limit == limit) then
    s.buckets[name] = bucket('settings', limit, limit / 60)
  elseif limit == 0 and ours then
    s.buckets[name] = nil
  end
end

-- The index finds them again without SCAN. A call does not pay for it.
local function save()
  local ttl = math.ceil(KEEP + math.max(0, (s.cool or 0) - clock, (s.exhausted or 0) - clock))
  if clock - s.listed >= 60 or VERB == 'cool' or VERB == 'exhaust' then
    s.listed = clock
    redis.call('ZREMRANGEBYSCORE', P .. 'limits', '-inf', now)
    redis.call('ZADD', P .. 'limits', now + ttl * 1000, ARGV[1])
    redis.call('EXPIRE', P .. 'limits', LONGEST_COOL + KEEP)
  end
  redis.call('SET', KEY, cjson.encode(s), 'EX', ttl)
end

local verbs = {}

function verbs.look(answered)
  s.answered = s.answered or answered == 1
  if s.exhausted or next(s.buckets) or (s.cool or 0) > clock then return { 'ask' } end
  return { 'free', s.answered and 1 or 0 }
end

-- When a call of so many tokens may go, and for how long it takes what fills the buckets.
local function due(tokens)
  local at, step = math.max(clock, s.cool or 0), 0
  for name, b in pairs(s.buckets) do
    refill(b)
    local amount = name == 'tokens' and tokens or 1
    local needed = math.min(amount, b.cap)
    if b.level < needed - 1e-6 then at = math.max(at, b.ends or b.at + (needed - b.level) / speed(b)) end
    step = math.max(step, amount / speed(b))
  end
  return at, step
end

local function let_go(tokens, verdict, what)
  for name, b in pairs(s.buckets) do b.level = b.level - (name == 'tokens' and tokens or 1) end
  used()
  s.count = s.count + 1
  s.sent = s.sent + 1
  s.charged = s.charged + tokens
  return { verdict, what, tostring(s.sent), tostring(s.charged) }
end

local function go(tokens, probe) return let_go(tokens, 'go', probe and 1 or 0) end
local function free(tokens) return let_go(tokens, 'free', s.answered and 1 or 0) end

-- When to come back for one whose turn is not within reach. All places are hints: who comes when a slot is
-- free gets it. They spread those who wait, so that each is asked back about once.
local function put_off(lane, place, step)
  s.turns = s.turns + 1
  -- The first to be put off is the one that the slot within reach is kept for; it comes a little early.
  if lane.next <= clock then
    lane.next = place
    return math.max(0.5, place - clock - 0.5)
  end
  local b = s.buckets.requests
  local unsure = b and b.source == '429'
  local longest = unsure and LONGEST_UNSURE or LONGEST
  if unsure and b.steep == STEEP then step = math.min(step, 1 / SCOUTS) end
  local start = math.max(clock, s.cool or 0)
  if lane.far - start > longest then
    return start - clock + longest * (0.5 + 0.5 * (s.turns * 0.618034 % 1))
  end
  lane.far = math.max(lane.far, place) + step / OVERBOOKED
  return lane.far - clock
end

local function in_line(tokens, urgent, again, patience)
  local at, step = due(tokens)
  local lane = urgent and s.fast or s.slow
  local ahead = urgent and 0 or math.min(s.fast.near + GRACE, s.floor)
  if at <= clock and ahead <= clock and (again or lane.near <= clock) then
    -- Reached only when nobody urgent waits, or when it is the turn of the others.
    if not urgent then s.floor = clock + SHARE * step end
    return go(tokens)
  end
  if again then return { 'wait', tostring(math.max(0.005, math.max(at, ahead) - clock)) } end
  local place = math.max(at, lane.near + step, urgent and 0 or s.fast.near + step)
  if place - clock <= patience then
    lane.near = place
    return { 'wait', tostring(math.max(0.005, place - clock)) }
  end
  return { 'later', tostring(put_off(lane, place, step)) }
end

function verbs.ask(tokens, urgent, again, patience)
  if s.exhausted then
    if clock < s.exhausted then return { 'exhausted', tostring(s.exhausted - clock) } end
    if clock < (s.probing or 0) then return { 'later', tostring(math.min(5, s.probing - clock)) } end
    s.probing = clock + PROBE
    return go(tokens, true)
  end
  if not next(s.buckets) and (s.cool or 0) <= clock then return free(tokens) end
  local b = s.buckets.requests
  if b and b.source == '429' and (speed(b) >= LAST or clock - s.incident > LAST_TRY) then
    s.buckets.requests = nil
    if not next(s.buckets) then return free(tokens) end
  end
  return in_line(tokens, urgent == 1, again == 1, patience)
end

local function learn_one(name, since, exact, age, limit, left, period, reset, kind)
  local rate = limit / period
  local b = s.buckets[name]
  if not b or b.source == '429' or (b.source == 'headers' and b.limit ~= limit) then
    b = bucket('headers', limit, rate)
    -- What is left is known, and used: it may be a minute's worth.
    b.cap = math.max(b.cap, left)
    b.level = b.cap
    s.buckets[name] = b
  end
  refill(b)
  local ours = b.source == 'settings'
  local paced = ours or b.wary
  if not ours then b.rate = rate end
  if not paced then b.cap = math.max(b.cap, left) end
  if kind == 'fixed' then b.fixed = true elseif kind == 'rolling' then b.fixed = nil end
  b.ends = nil
  if b.fixed and reset >= 0 and (left == 0 or not paced) then
    b.ends = clock + math.min(reset, LONGEST_WINDOW)
    b.fill = reset > LONGEST_WINDOW and 1 or b.cap * (1 - RESERVE)
  end
  -- What the server has now: since it said so, we have sent some, and time has passed.
  local kept = math.max(b.cap * RESERVE, math.min(b.cap / 4, rate * JITTER))
  local there = left - since + (b.ends and 0 or speed(b) * age) - kept
  if there < b.level then
    b.level = math.max(there, -2 * rate)
  elseif exact and not paced then
    b.level = math.min(b.cap, b.level + (there - b.level) * 0.1)
  end
end

function verbs.learn(sent, charged, later, later_tokens, age)
  local since = { requests = later, tokens = later_tokens }
  if sent >= 0 then since = { requests = s.sent - sent, tokens = s.charged - charged } end
  s.answered = true
  for i = 13, #ARGV, 6 do
    local function number(j) return tonumber(ARGV[i + j]) end
    learn_one(ARGV[i], since[ARGV[i]], sent >= 0, age, number(1), number(2), number(3), number(4), ARGV[i + 5])
  end
end

-- The rate that a server without a word on it has: between two moments at which it had nothing left, it let
-- through what it had got in the meantime.
local function measured(b)
  local good = s.sent - s.refused
  if not b then return FIRST, STEEP end
  local rate, seconds = math.min(speed(b), math.max(FIRST, used())), clock - s.incident
  if seconds < 2 then return math.max(0.1, rate / 2), STEEP end
  -- Never less than half of what was tried: there may have been nothing to send.
  local found = (good - s.good) / seconds
  return math.max(0.1, math.min(math.max(0.9 * found, rate / 2), rate)), FLAT
end

function verbs.cool(wait, age)
  wait = math.min(wait, LONGEST_COOL)
  s.refused = s.refused + 1
  tally('throttled')
  s.answered = true
  -- A call that was let go before we began to keep still says nothing new, but for how long.
  if clock - age < (s.cool or 0) then
    s.good = (s.good or 0) - 1
    if wait >= 0 then s.cool = math.max(s.cool, clock + wait) end
  else
    local quiet = clock - (s.cool or 0)
    s.streak = quiet < SOON and (s.streak or 0) + 1 or 1
    local b = s.buckets.requests
    if b and b.source ~= '429' then
      s.pace = math.max(0.01, s.pace * (quiet < SOON and 0.5 or 0.9))
    else
      local rate, steep = measured(b)
      b = bucket('429', 0, rate)
      b.steep = steep
      s.buckets.requests = b
    end
    s.incident, s.good = clock, s.sent - s.refused
    s.cool = clock + (wait >= 0 and wait or math.min(60, 2 ^ (s.streak - 1)))
  end
  s.exhausted, s.probing = nil, nil
  if s.cool <= clock then return end
  for _, b in pairs(s.buckets) do
    -- Nothing is there at the end, so that not all come at once.
    if b.source ~= '429' then b.wary, b.cap = true, math.max(b.rate, math.min(2, b.limit)) end
    b.level, b.at, b.ends, b.since = 0, s.cool, nil, s.cool
  end
end

function verbs.exhaust(seconds)
  s.exhausted, s.probing = clock + seconds, nil
end

function verbs.revive()
  s.exhausted, s.probing = nil, nil
end

local arguments = {}
for i = 8, VERB == 'learn' and 12 or #ARGV do arguments[#arguments + 1] = tonumber(ARGV[i]) end
s.label = s.label or cjson.decode(ARGV[2])
s.pace = math.min(1, s.pace + math.max(0, clock - s.paced) * 0.1 / 60)
s.paced = clock
local known = s.sent
s.sent = s.sent + tonumber(ARGV[5])
configure('requests', tonumber(ARGV[3]))
configure('tokens', tonumber(ARGV[4]))
local answer = verbs[VERB](unpack(arguments))
if s.sent > known then tally('sent:' .. ARGV[6], s.sent - known) end
save()
return answer or { 'ok' }
