-- Take webhooks that are due, for the time of a lease: who does not settle one loses it to the next that asks.
-- ARGV: most, most of one receiver, lease in ms, ms that they must be overdue, fields of a record that are wanted, then
--       receivers and how many may be taken of each
-- -> {receiver, id, event, number of the attempt, what was submitted, values of these fields}, ...
even_when_full()
local most, each, lease, until_ = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), now - tonumber(ARGV[4])
local rooms, taken, fields = {}, {}, {}
for field in ARGV[5]:gmatch('%S+') do fields[#fields + 1] = field end
for i = 6, #ARGV, 2 do rooms[ARGV[i]] = tonumber(ARGV[i + 1]) end
-- Those without room are passed over: they must not keep others from being seen.
local receivers = redis.call('ZRANGEBYSCORE', P .. 'hooks', '-inf', until_, 'LIMIT', 0, most + #ARGV)
for _, receiver in ipairs(receivers) do
  local room = math.min(rooms[receiver] or each, most - #taken)
  if room > 0 then
    local due = redis.call('ZRANGEBYSCORE', hooks_key(receiver), '-inf', until_, 'LIMIT', 0, room)
    for _, member in ipairs(due) do
      local event, id = member:match('^(%S+) (.+)$')
      local key = told_of(event, id)
      if key then
        local attempt = redis.call('HINCRBY', key, 'hook_attempts', 1)
        redis.call('ZADD', hooks_key(receiver), now + lease, member)
        taken[#taken + 1] = { receiver, id, event, attempt, brief_of(key), redis.call('HMGET', key, unpack(fields)) }
      else
        redis.call('ZREM', hooks_key(receiver), member)
      end
    end
    tell_receiver(receiver)
  end
end
return taken
