-- Questions that are still being found out. ARGV: lease in ms, then digest, owner, ...
even_when_full()
for i = 2, #ARGV, 2 do
  local key = P .. 'asked:' .. ARGV[i]
  if redis.call('GET', key) == ARGV[i + 1] then redis.call('PEXPIRE', key, ARGV[1]) end
end
