-- Stop or resume a queue: nothing of it begins while it is paused. ARGV: queue, '1' to stop it -> 'ok'
even_when_full()
if ARGV[2] == '1' then redis.call('SADD', P .. 'paused', ARGV[1]) else redis.call('SREM', P .. 'paused', ARGV[1]) end
return 'ok'
