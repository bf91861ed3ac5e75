package redislimit

import "github.com/redis/go-redis/v9"

// Both scripts take the server's time, in microseconds, which never goes back
// for a key; numbers stay below 2^53, where Lua's are exact. They answer whether
// n are granted and how many microseconds until they would be.

// bucketScript is a token bucket as guard has it: a token weighs as much as the
// window has microseconds, and rate drains each microsecond. A negative n gives
// back, less what can have drained since.
var bucketScript = redis.NewScript(`
local rate, weight, size = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local n, after = tonumber(ARGV[4]), tonumber(ARGV[5])
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000000 + tonumber(t[2])
local debt, at = 0, now
local saved = redis.call('GET', KEYS[1])
if saved then
  local d, a = string.match(saved, '^(%d+) (%d+)$')
  if d then debt, at = tonumber(d), tonumber(a) end
end
if now < at then now = at end
if now - at >= math.ceil(debt / rate) then debt = 0 else debt = debt - (now - at) * rate end
if n < 0 then
  debt = math.max(0, debt - math.max(0, -n * weight - after * rate))
else
  local excess = debt + n * weight - size
  if excess > 0 then return {0, math.ceil(excess / rate)} end
  debt = debt + n * weight
end
local ttl = math.ceil(debt / rate / 1000) + 1
redis.call('SET', KEYS[1], string.format('%.0f %.0f', debt, now), 'PX', string.format('%.0f', ttl))
return {1, 0}
`)

// slidingScript is a log of the window's grants, oldest first. To give back, it
// forgets the oldest that the request can have been granted: never a later one,
// which would make room too early.
var slidingScript = redis.NewScript(`
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local n, after = tonumber(ARGV[3]), tonumber(ARGV[4])
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000000 + tonumber(t[2])
local newest = tonumber(redis.call('LINDEX', KEYS[1], -1) or 0)
if now < newest then now = newest end
while true do
  local oldest = redis.call('LINDEX', KEYS[1], 0)
  if not oldest or tonumber(oldest) + window > now then break end
  redis.call('LPOP', KEYS[1])
end
if n < 0 then
  for _ = 1, -n do
    local found, i = nil, -1
    while i >= -1000 do
      local e = redis.call('LINDEX', KEYS[1], i)
      if not e or tonumber(e) < now - after then break end
      found, i = e, i - 1
    end
    if found then redis.call('LREM', KEYS[1], 1, found) end
  end
  return {1, 0}
end
local excess = redis.call('LLEN', KEYS[1]) + n - limit
if excess > 0 then
  return {0, tonumber(redis.call('LINDEX', KEYS[1], excess - 1)) + window - now}
end
for _ = 1, n do redis.call('RPUSH', KEYS[1], string.format('%.0f', now)) end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(window / 1000) + 1))
return {1, 0}
`)
