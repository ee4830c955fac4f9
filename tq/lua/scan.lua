-- Ids that begin so, with their seq. ARGV: beginning as a glob, cursor, status, how many to look at
-- -> {cursor, flat list of id, seq}
return redis.call('ZSCAN', status_key(ARGV[3]), ARGV[2], 'MATCH', ARGV[1], 'COUNT', ARGV[4])
