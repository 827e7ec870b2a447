"""How many createTask calls may go out: a sliding window in Redis, shared by all workers.

KIE takes 20 in any 10 seconds per account and refuses the rest; 18 leaves room for its clock and
the network's. (A token bucket would let 2 × 18 through around a window's edge.)
"""

from __future__ import annotations

from redis import Redis

CALLS, WINDOW_MS = 18, 10_000
KEY = "kie:creates"

# KEYS[1] is a sorted set of the calls of the last window, by Redis' own clock in milliseconds.
# Answers 0 when this call may go, else the milliseconds until one may.
TAKE = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ms - ARGV[2])
if redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('ZADD', KEYS[1], ms, now[1] .. '.' .. now[2] .. '.' .. ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 0
end
return redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] + ARGV[2] - ms + 1
"""


def seconds_to_wait(redis: Redis, call_id: str) -> float:
    """Takes a place in the window and answers 0.0, or answers how long until one is free."""
    wait = int(redis.eval(TAKE, 1, KEY, CALLS, WINDOW_MS, call_id))
    return min(wait, WINDOW_MS) / 1000  # should Redis' clock ever have been set back
