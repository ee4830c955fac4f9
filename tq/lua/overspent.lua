-- Whether an account has spent all that it may today.
-- ARGV: account, what it may spend a day, in billionths -> {spent, now} | {} (there is money left)
local spent = overspent(ARGV[1], tonumber(ARGV[2]))
return spent and { spent, now } or {}
