-- One process reaps at a time; the lock only saves work.
-- ARGV: owner, ms
-- -> 1 if it is the caller's now
even_when_full()
return redis.call('SET', P .. 'reaper', ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
