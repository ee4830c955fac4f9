-- What a model of an endpoint was found to lack. ARGV: digest, seconds to keep it, names...
local key = P .. 'lacking:' .. ARGV[1]
redis.call('SADD', key, unpack(ARGV, 3))
redis.call('EXPIRE', key, ARGV[2])
