"""Background work of a process takes the time that its polls leave, and no other.

Polls have an instant at which they are due; a backlog has not. Whoever works one off asks here before each piece of it.
An event loop with time to spare wakes a sleeper when it wanted to be woken; one that is late has work waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["Turns", "room"]

_LOOK_S: Final = 0.005
_LATE_S: Final = 0.01
"""More than this, and the loop is busy: ten times what waking a sleeper costs."""
_PAUSE_S: Final = 0.05
LONGEST_S: Final = 1.0
"""Background work gets a turn at least this often, or a process that is always busy would never end it."""


async def room(longest_s: float = LONGEST_S) -> None:
    """Return when the event loop has time to spare, after `longest_s` [s] in any case."""
    began_s = time.monotonic()
    while True:
        asleep_s = time.monotonic()
        await asyncio.sleep(_LOOK_S)
        now_s = time.monotonic()
        if now_s - asleep_s - _LOOK_S <= _LATE_S or now_s - began_s >= longest_s:
            return
        await asyncio.sleep(_PAUSE_S)


class Turns:
    """Keeps long work, done piece by piece, to a share of the time, so that other processes have theirs too.

    Each piece is done in an `async with` block, which is entered when as much time has passed since the piece before as
    that demands, and the event loop has time to spare.

    Args:
        share: what the pieces may take of the time, 0 < share <= 1.
    """

    def __init__(self, share: float) -> None:
        self._rest_per_work = 1 / share - 1
        self._began_s = 0.0
        self._next_s = 0.0
        self._waits = True
        self.waited_s = 0.0
        """How long the work has waited for its turns so far [s]."""

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Wait for no turn within this block: whoever waits for the work wants nothing else done."""
        waits, self._waits = self._waits, False
        try:
            yield
        finally:
            self._waits = waits

    async def __aenter__(self) -> None:
        if not self._waits:
            await asyncio.sleep(0)
            self._began_s = time.monotonic()
            return
        asked_s = time.monotonic()
        if asked_s < self._next_s:
            await asyncio.sleep(self._next_s - asked_s)
        await room()
        self._began_s = time.monotonic()
        self.waited_s += self._began_s - asked_s

    async def __aexit__(self, *_: object) -> None:
        ended_s = time.monotonic()
        self._next_s = ended_s + (ended_s - self._began_s) * self._rest_per_work
