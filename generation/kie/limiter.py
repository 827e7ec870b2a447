"""How many calls may go out in ten seconds: sliding windows in Redis, shared by all workers.

KIE takes 20 createTask calls in any 10 seconds per account and refuses the rest; 18 leaves room for
its clock and the network's. (A token bucket would let 2 × 18 through around a window's edge.) The
window of recordInfo is ours alone: KIE names no number, and refuses "tight parallel polling".

A call counts from when its answer came, so that it does not matter how long it was on its way: at
KIE, which took it earlier, no ten seconds hold more than are allowed here.

A window that Redis has lost (FLUSHALL, a new server) does not open by itself: its calls have to be
told again, from the rows, before the next one may go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from redis import Redis

WINDOW_MS = 10_000

# KEYS: the calls of the last window, a sorted set by Redis' own clock in milliseconds; a mark that
# this set is ours and whole; a flag that KIE has refused a call, for one window.
# ARGV: calls in a window, its milliseconds, how many are asked for, the caller's name for them.
# Answers how many may go, or minus one when the window is lost.
TAKE = """
if redis.call('EXISTS', KEYS[2]) == 0 then return -1 end
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
-- Calls from the future: Redis' clock was set back. They count as made now.
for _, call in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ms, '+inf')) do
  redis.call('ZADD', KEYS[1], ms, call)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ms - ARGV[2])
local free = tonumber(ARGV[1]) - redis.call('ZCARD', KEYS[1])
local taken = math.max(0, math.min(free, tonumber(ARGV[3])))
for i = 1, taken do redis.call('ZADD', KEYS[1], ms, ARGV[4] .. ':' .. i) end
if taken > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return taken
"""

# ARGV: the window's milliseconds, the caller's name.
ANSWERED = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZADD', KEYS[1], 'XX', ms, ARGV[2] .. ':1')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 0
"""

# ARGV: the window's milliseconds, then name and age in milliseconds of each call that was made.
RETELL = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
for i = 2, #ARGV, 2 do redis.call('ZADD', KEYS[1], 'NX', ms - ARGV[i + 1], ARGV[i] .. ':1') end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ms)
return 0
"""


class WindowLost(Exception):
    """Redis does not know how many calls went out: `retell` them."""


@dataclass(frozen=True)
class Window:
    """`calls` in any ten seconds."""

    redis: Redis
    name: str
    calls: int

    def take(self, caller: str, wanted: int = 1) -> int:
        """How many of the calls wanted may go now; they count from now on. `caller` is unique.

        Raises WindowLost.
        """
        taken = int(self.redis.eval(TAKE, 3, *self._keys(), self.calls, WINDOW_MS, wanted, caller))
        if taken < 0:
            raise WindowLost(self.name)
        return taken

    def answered(self, caller: str) -> None:
        """The call that this caller took has its answer, or will not get one."""
        self.redis.eval(ANSWERED, 3, *self._keys(), WINDOW_MS, caller)

    def retell(self, ages: Mapping[str, float]) -> None:
        """Opens a lost window. `ages`: seconds since each call of the last window, by caller."""
        calls = [part for name, age in ages.items() for part in (name, int(age * 1000))]
        self.redis.eval(RETELL, 3, *self._keys(), WINDOW_MS, *calls)

    def shut(self) -> None:
        """KIE has refused a call: none goes out for one window."""
        self.redis.set(self._keys()[2], 1, px=WINDOW_MS)

    def _keys(self) -> tuple[str, str, str]:
        return f"kie:{self.name}", f"kie:{self.name}:whole", f"kie:{self.name}:shut"
