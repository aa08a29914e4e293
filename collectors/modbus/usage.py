"""What an endpoint went through, and how much of its time it is busy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from emsd.errors import CollectError

__all__ = ["Usage"]

PERIOD_S: Final = 10.0
"""The busy share is that of a period of at least this length [s]."""


class Usage:
    """Running totals of one endpoint; only its task writes them. `now_s` is the monotonic clock [s]."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self.connects = 0
        self.failures = 0
        self.requests = 0
        self.last_error: str | None = None
        self._busy_s = 0.0
        self._began: float | None = None
        self._period_start = self._now_s()
        self._period_busy_s = 0.0
        self._share: float | None = None

    def begin(self) -> None:
        """Somebody is served from now on."""
        self._began = self._now_s()

    def end(self) -> None:
        """Nobody is served any more."""
        if self._began is not None:
            self._busy_s += self._now_s() - self._began
            self._began = None

    def failed(self, error: CollectError) -> None:
        """Count a failure."""
        self.failures += 1
        self.last_error = str(error)

    def busy_s(self) -> float:
        """Return the time in which somebody was served, until now [s]."""
        return self._busy_s + (self._now_s() - self._began if self._began is not None else 0.0)

    def busy_share(self) -> float:
        """Return the share of the last full period in which somebody was served [0..1]; of the first one, so far.

        A period ends with the first call after its length, so that several callers do not disturb each other.
        """
        now, busy_s = self._now_s(), self.busy_s()
        passed_s = now - self._period_start
        share = min(1.0, (busy_s - self._period_busy_s) / passed_s) if passed_s > 0 else 0.0
        if passed_s >= PERIOD_S:
            self._period_start, self._period_busy_s, self._share = now, busy_s, share
        return share if self._share is None else self._share
