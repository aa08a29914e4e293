"""Answers on their way to a client: later than at once, in the order of the requests, held while it is cut off."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

__all__ = ["After", "Outbox", "Step"]


class After(Enum):
    """What becomes of a connection once something was sent."""

    STAY = "stay"
    CLOSE = "close"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Step:
    """Bytes that are sent some time after what was sent before them."""

    data: bytes
    delay_s: float = 0.0
    after: After = After.STAY


class Outbox:
    """Sends steps in order, each at its time; what it sends with is given by whoever owns the connection."""

    __slots__ = ("_held", "_loop", "_send", "_timer", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[bytes, After], None]) -> None:
        self._loop = loop
        self._send = send
        self._waiting: deque[tuple[float, Step]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._held = False

    def __len__(self) -> int:
        """How many steps wait to be sent."""
        return len(self._waiting)

    def put(self, steps: list[Step]) -> None:
        """Send steps, one after the other, behind everything that still waits."""
        due = self._loop.time()
        for step in steps:
            due += step.delay_s
            if self._waiting:
                due = max(due, self._waiting[-1][0])
            self._waiting.append((due, step))
        self._deliver()

    def hold(self) -> None:
        """Send nothing until `release`."""
        self._held = True
        self._stop_timer()

    def release(self) -> None:
        """Send what is due, and go on."""
        self._held = False
        self._deliver()

    def drop(self) -> None:
        """Forget everything: the connection is gone."""
        self._waiting.clear()
        self._stop_timer()

    def _deliver(self) -> None:
        self._stop_timer()
        while self._waiting and not self._held:
            due, step = self._waiting[0]
            if due > self._loop.time():
                self._timer = self._loop.call_at(due, self._deliver)
                return
            self._waiting.popleft()
            self._send(step.data, step.after)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
