"""The wall clock, read at the edge only: physics gets its time passed in."""

from __future__ import annotations

import time

__all__ = ["wall_clock_us"]


def wall_clock_us() -> int:
    """Return the wall clock in microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000
