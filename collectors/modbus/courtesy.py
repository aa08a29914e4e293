"""How long the probe of a silent unit may keep its line from the others.

What a probe waits for its answer is what the device was known to need, or, of a device that was never met, what the
slowest of its line needs. A device may have become slower, or be the slowest of all: so now and then a probe waits the
whole timeout, as seldom as `WHOLE_SHARE` says, however many units are silent.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Courtesy"]

ANSWER_MARGIN: Final = 5.0
"""A probe waits this many times the slowest answer that was seen."""
SHORTEST_PROBE_S: Final = 0.25
WHOLE_SHARE: Final = 0.005
"""Share of a line's time that probes may spend on waiting whole timeouts."""


class Courtesy:
    """What the units of one line have needed for their answers, and when the next probe may wait the whole timeout.

    Args:
        units: how many share the line. One alone keeps nobody waiting: its probes all wait the whole timeout.
    """

    __slots__ = ("_slowest_s", "_units", "_whole_from")

    def __init__(self, units: int = 1) -> None:
        self._units = units
        self._slowest_s: float | None = None
        self._whole_from = 0.0

    def heard(self, seconds: float) -> None:
        """Take note that a unit of the line answered within `seconds`."""
        if self._slowest_s is None or seconds > self._slowest_s:
            self._slowest_s = seconds

    def probe_s(self, slowest_s: float | None, timeout_s: float, now: float) -> float:
        """Return how long the probe that is sent now may wait for its answer [s].

        Args:
            slowest_s: the slowest answer of the unit itself [s]; None: it never answered.
            timeout_s: the whole timeout [s].
            now: monotonic clock [s].
        """
        needed_s = slowest_s if slowest_s is not None else self._slowest_s
        if self._units == 1 or needed_s is None:
            return timeout_s
        if now >= self._whole_from:
            self._whole_from = now + timeout_s / WHOLE_SHARE
            return timeout_s
        return min(timeout_s, max(SHORTEST_PROBE_S, ANSWER_MARGIN * needed_s))
