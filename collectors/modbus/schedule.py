"""When a meter is polled: ticks that stand on the wall clock, spread over the interval by a hash of the meter.

The wall clock only says where the next tick lies; waiting and counting go by the monotonic clock, so that a clock that
is set moves ticks by less than one interval and neither stops the polling nor invents missed ticks. A tick that came
while the previous poll was still running is passed over and counted, never queued.
"""

from __future__ import annotations

import math
from hashlib import blake2b

__all__ = ["Ticks"]

_TOLERANCE = 1e-6


class Ticks:
    """The ticks of one meter.

    Args:
        key: name of the meter; its hash is the offset within the interval, the same in every process and release.
        interval_s: time between two ticks [s].
    """

    __slots__ = ("_interval_us", "_phase_us", "due", "interval_s")

    def __init__(self, key: str, interval_s: float) -> None:
        self.interval_s = interval_s
        self._interval_us = max(1, round(interval_s * 1e6))
        self._phase_us = int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") % self._interval_us
        self.due = math.inf
        """Instant of the tick that is to be served next, on the monotonic clock [s]; never, before `align`."""

    def align(self, now: float, wall_us: int) -> None:
        """Take the first tick after `now` (monotonic [s]), which is `wall_us` on the wall clock."""
        self.due = now + self._until_next_s(wall_us)

    def lapse(self, now: float) -> int:
        """Give up ticks whose successor is due as well; return how many."""
        if now < self.due:
            return 0
        lapsed = int((now - self.due) / self.interval_s + _TOLERANCE)
        self.due += lapsed * self.interval_s
        return lapsed

    def advance(self, now: float, wall_us: int) -> int:
        """Leave the tick that was served for the first one after `now`; return how many were passed over."""
        following = now + self._until_next_s(wall_us)
        if following - self.due < self.interval_s / 2:
            # The tick was served a moment before the wall clock reached it.
            following += self.interval_s
        passed_over = max(0, round((following - self.due) / self.interval_s) - 1)
        self.due = following
        return passed_over

    def first_from(self, instant: float) -> float:
        """Return the first tick at or after `instant` (monotonic [s]), the one that is due included."""
        if instant <= self.due:
            return self.due
        return self.due + self.interval_s * -int(-(instant - self.due) // self.interval_s)

    def period_number(self, period_s: float, wall_us: int) -> int:
        """Return the number of the period of `period_s` that the tick at `wall_us` falls in.

        Periods begin on ticks; half an interval of slack keeps a tick that is served a little early in its period.
        """
        return (wall_us - self._phase_us + self._interval_us // 2) // max(1, round(period_s * 1e6))

    def _until_next_s(self, wall_us: int) -> float:
        into_us = (wall_us - self._phase_us) % self._interval_us
        return (self._interval_us - into_us) / 1e6
