-- Book what an attempt has cost that does not settle any more, as its message was taken from it.
-- ARGV: id, epoch, prompt tokens, completion tokens, cost in billionths or '' (not known), account or ''
even_when_full()
local m = load(ARGV[1])
if m then book_late(ARGV[1], m, tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]) end
