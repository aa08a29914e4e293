"""Background work of a process takes the time that its polls leave, and no other.

Polls have an instant at which they are due; a backlog has not. Whoever works one off asks here before each piece of it.
An event loop with time to spare wakes a sleeper when it wanted to be woken; one that is late has work waiting.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

__all__ = ["room"]

_LOOK_S: Final = 0.005
_LATE_S: Final = 0.01
"""More than this, and the loop is busy: ten times what waking a sleeper costs."""
_PAUSE_S: Final = 0.05
LONGEST_S: Final = 1.0
"""Background work gets a turn at least this often, or a process that is always busy would never end it."""


async def room(longest_s: float = LONGEST_S) -> float:
    """Wait until the event loop has time to spare, `longest_s` [s] at most; return how long that was [s]."""
    began_s = time.monotonic()
    while True:
        asleep_s = time.monotonic()
        await asyncio.sleep(_LOOK_S)
        now_s = time.monotonic()
        if now_s - asleep_s - _LOOK_S <= _LATE_S or now_s - began_s >= longest_s:
            return now_s - began_s
        await asyncio.sleep(_PAUSE_S)
