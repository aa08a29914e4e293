"""Clocks, read at the edge only: physics gets its time passed in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

__all__ = ["FastClock", "seconds_until", "wall_clock_us"]

_TURN_S: Final = 0.002
_LONGEST_STEP_S: Final = 2 * _TURN_S
_MOST_OWED_S: Final = 0.05
"""What it makes up for; what a busy machine takes beyond it makes the clock late."""
_SHORTEST_WAIT_S: Final = 0.001


def wall_clock_us() -> int:
    """Return the wall clock in microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000


class FastClock:
    """A clock that begins where it is told and runs `speed` times as fast, for those who go by it in one process.

    It waits for them: it moves only while `run` gets its turn on the event loop, in small steps, and makes up for
    little: a machine that is busy makes it slow and never makes it leap. `speed` is the most, not a promise.
    """

    def __init__(self, begin_us: int, speed: float, *, until_us: int | None = None) -> None:
        """Prepare a clock that stands at `begin_us`, and stops for good at `until_us`."""
        if speed <= 0:
            raise ValueError(f"speed {speed:g} must be greater than 0")
        self.speed = speed
        self.waited_s = 0.0
        """How long it stood still because somebody was not ready [s]."""
        self.over = asyncio.Event()
        """Set when it has come to its end."""
        self._now_us = begin_us
        self._until_us = until_us

    def __call__(self) -> int:
        """Return what it shows, in microseconds since 1970-01-01 UTC."""
        return self._now_us

    async def run(self, ready: Callable[[], bool] = lambda: True) -> None:
        """Run until it shows its end; stand still while `ready` says no."""
        loop = asyncio.get_running_loop()
        before_s, owed_s = loop.time(), 0.0
        while self._until_us is None or self._now_us < self._until_us:
            # Behind, it takes a small step a turn of the loop: nobody sees it leap between question and answer.
            await asyncio.sleep(0.0 if owed_s > 0 else _TURN_S)
            now_s = loop.time()
            elapsed_s, before_s = now_s - before_s, now_s
            if not ready():
                self.waited_s += elapsed_s
                continue
            owed_s = min(owed_s + elapsed_s, _MOST_OWED_S)
            step_s = min(owed_s, _LONGEST_STEP_S)
            owed_s -= step_s
            self._now_us += round(step_s * self.speed * 1e6)
            if self._until_us is not None:
                self._now_us = min(self._now_us, self._until_us)
        self.over.set()


def seconds_until(now_us: Callable[[], int], due_us: int) -> float:
    """Return how long to wait until a clock shows `due_us` [s]: 0 when it does, and never less than 1 ms else."""
    left_s = (due_us - now_us()) / 1e6
    speed = now_us.speed if isinstance(now_us, FastClock) else 1.0
    return max(left_s / speed, _SHORTEST_WAIT_S) if left_s > 0 else 0.0
