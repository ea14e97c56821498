-- One tenant's budgets: token buckets for requests, tokens, tiles and audio, and slots with leases, all or nothing.
--
-- KEYS[1]  hash: 'at' (ms) and a level for each bucket, in 1/60000 of a unit, so that a rate a minute times
--          milliseconds is a whole number; a missing level is a full bucket
-- KEYS[2]  sorted set: reservation -> end of its lease (ms)
-- ARGV     'reserve' or 'settle', reservation, lease (ms), slots, then for each bucket its limit a minute and an amount:
--          units to take (reserve), or to give back, negative to take more (settle)
-- Reserve replies {1 or 0, then for each bucket and for the slots: remaining, wait (ms; 0 none, -1 for ever)}.
-- Settle replies {1}, or {0} if there is no such reservation (it was settled, its lease ran out, it never was).
-- bucket.py is the same in Python.

local SCALE, MAX_DEBT_MIN, MAX_SLOT_WAIT_MS = 60000, 10, 1000
local NAMES = {'requests', 'tokens', 'tiles', 'audio_ms'}

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reserving, reservation = ARGV[1] == 'reserve', ARGV[2]
local lease, num_slots = tonumber(ARGV[3]), tonumber(ARGV[4])

redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if not reserving and redis.call('ZREM', KEYS[2], reservation) == 0 then
  return {0}
end

local stored = redis.call('HMGET', KEYS[1], 'at', unpack(NAMES))
local elapsed = math.max(0, now - (tonumber(stored[1]) or now))
local buckets = {}

local function clamp(level, limit)
  return math.max(-MAX_DEBT_MIN * limit * SCALE, math.min(limit * SCALE, level))
end

for i = 1, #NAMES do
  local limit, amount = tonumber(ARGV[3 + 2 * i]), tonumber(ARGV[4 + 2 * i])
  local level = (tonumber(stored[i + 1]) or limit * SCALE) + limit * elapsed
  buckets[i] = {limit = limit, amount = amount, level = clamp(level, limit)}
end

local function bucket_wait(bucket)
  local missing = bucket.amount * SCALE - bucket.level
  if bucket.amount == 0 or missing <= 0 then return 0 end
  if bucket.amount > bucket.limit then return -1 end
  return math.ceil(missing / bucket.limit)
end

local function slot_wait(taken)
  if taken < num_slots then return 0 end
  if num_slots == 0 then return -1 end
  local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  return math.min(MAX_SLOT_WAIT_MS, tonumber(first[2]) - now)
end

local reply = {1}
if reserving then
  local taken = redis.call('ZCARD', KEYS[2])
  local slots_wait, waits = slot_wait(taken), {}
  local allowed = slots_wait == 0
  for i, bucket in ipairs(buckets) do
    waits[i] = bucket_wait(bucket)
    allowed = allowed and waits[i] == 0
  end
  if allowed then
    redis.call('ZADD', KEYS[2], now + lease, reservation)
    taken = redis.call('ZCARD', KEYS[2])
    local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
    redis.call('PEXPIRE', KEYS[2], tonumber(last[2]) - now)
  end
  reply = {allowed and 1 or 0}
  for i, bucket in ipairs(buckets) do
    if allowed then bucket.level = bucket.level - bucket.amount * SCALE end
    reply[2 * i], reply[2 * i + 1] = math.floor(bucket.level / SCALE), waits[i]
  end
  reply[#reply + 1], reply[#reply + 2] = num_slots - taken, slots_wait
else
  for _, bucket in ipairs(buckets) do
    bucket.level = clamp(bucket.level + bucket.amount * SCALE, bucket.limit)
  end
end

local full_in, fields = 1, {'at', string.format('%.0f', now)}
for i, bucket in ipairs(buckets) do
  if bucket.limit > 0 then
    full_in = math.max(full_in, math.ceil((bucket.limit * SCALE - bucket.level) / bucket.limit))
  end
  fields[2 * i + 1], fields[2 * i + 2] = NAMES[i], string.format('%.0f', bucket.level)
end
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('PEXPIRE', KEYS[1], full_in)
return reply
