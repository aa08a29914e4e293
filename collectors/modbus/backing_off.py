"""When to ask again for what did not answer: a whole meter, or one block of it.

A meter that is down is probed with one request a period, so that it costs those who share its line one wait for an
answer and no more; how long that may be is a matter of courtesy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from collectors.backoff import Backoff
from collectors.modbus.courtesy import Courtesy
from collectors.modbus.poll import Poll
from collectors.modbus.reads import Request
from emsd.collector import MeterState
from emsd.plant.modbus_map import Table

__all__ = ["Absence", "Holds"]

FIRST_WAIT_S: Final = 1.0
"""The first probe comes after this time or the meter's interval, whichever is longer."""

DOWN_CAP_S: Final = 60.0
"""A meter that is down is probed at least this often."""

NEVER_MET_CAP_S: Final = 300.0
"""A meter that has never answered since the start is probed at least this often."""

REST_CAP_S: Final = 600.0
"""A meter that rests is probed at least this often, and when its rest is over."""

BLOCK_CAP_S: Final = 300.0
"""A block that fails while others of its meter answer is tried again at least this often."""

_US_PER_S: Final = 1_000_000
_HALVINGS: Final = 10


class Absence:
    """Whether a meter answers, and when to probe it while it does not.

    Args:
        interval_s: time between two polls [s].
        timeout_s: longest wait for an answer [s].
        may_rest: whether the device is expected to be silent at an instant [us since the epoch]; None: never.
        courtesy: what it owes those on its line; one object for all of them. None: it is alone there.
    """

    __slots__ = (
        "_backoff",
        "_base_s",
        "_courtesy",
        "_hears",
        "_may_rest",
        "_probes",
        "_resting",
        "_slowest_s",
        "_timeout_s",
        "not_before",
    )

    def __init__(
        self,
        interval_s: float,
        timeout_s: float,
        may_rest: Callable[[int], bool] | None,
        courtesy: Courtesy | None = None,
    ) -> None:
        self._base_s = max(FIRST_WAIT_S, interval_s)
        self._timeout_s = timeout_s
        self._may_rest = may_rest
        self._courtesy = courtesy or Courtesy()
        self._backoff = Backoff(self._base_s, NEVER_MET_CAP_S, least_share=0.5)
        self._resting = Backoff(self._base_s, REST_CAP_S, least_share=0.5)
        self._slowest_s: float | None = None
        self._probes = 0
        self._hears = True
        self.not_before = 0.0
        """When to ask again, on the monotonic clock [s]."""

    @property
    def probes(self) -> int:
        """How many attempts have failed in a row; 0: it is there."""
        return self._probes

    def wait_s(self, now: float) -> float:
        """Return how long the request that is sent at `now` may wait for its answer [s]; on the monotonic clock [s]."""
        return self._timeout_s if self._hears else self._courtesy.probe_s(self._slowest_s, self._timeout_s, now)

    def heard(self, seconds: float) -> None:
        """Take note that the device answered within `seconds`: what follows in this attempt may take its time."""
        self._hears = True
        self._courtesy.heard(seconds)
        if self._slowest_s is None:
            self._backoff = Backoff(self._base_s, DOWN_CAP_S, least_share=0.5)
        if self._slowest_s is None or seconds > self._slowest_s:
            self._slowest_s = seconds

    def succeeded(self) -> None:
        """Take note that a poll was answered."""
        if self._probes:
            self._probes = 0
            self._backoff.reset()
            self._resting.reset()
            self.not_before = 0.0

    def rests(self, wall_us: int) -> bool:
        """Whether the device need not answer now."""
        return self._may_rest is not None and self._may_rest(wall_us)

    def failed(self, now: float, wall_us: int, *, there: bool = False) -> MeterState:
        """Take note that an attempt failed, and return what that makes of the meter.

        Args:
            now: monotonic clock [s].
            wall_us: wall clock [us since the epoch].
            there: somebody answers, but not as is wanted; that is never a rest.
        """
        self._probes += 1
        self._hears = there
        if not there and self.rests(wall_us):
            self.not_before = now + self._within_rest_s(wall_us, self._resting.next_s())
            return MeterState.RESTING
        self._resting.reset()
        self.not_before = now + self._backoff.next_s()
        return MeterState.DOWN

    def _within_rest_s(self, wall_us: int, wait_s: float) -> float:
        """Return a wait cut short where the rest ends, so that whoever wakes is met at once [s]."""
        if self.rests(wall_us + round(wait_s * _US_PER_S)):
            return wait_s
        resting_s, awake_s = 0.0, wait_s
        for _ in range(_HALVINGS):
            middle_s = (resting_s + awake_s) / 2
            if self.rests(wall_us + round(middle_s * _US_PER_S)):
                resting_s = middle_s
            else:
                awake_s = middle_s
        return awake_s


@dataclass(slots=True)
class _Hold:
    backoff: Backoff
    until: float = 0.0


class Holds:
    """The blocks of one meter that failed: they come last in a poll, and are left out until their time has come.

    Args:
        interval_s: time between two polls [s].
    """

    __slots__ = ("_first_s", "_held")

    def __init__(self, interval_s: float) -> None:
        self._first_s = 2 * interval_s
        self._held: dict[tuple[Table, int, int], _Hold] = {}

    def sort_out(self, poll: Poll) -> None:
        """Take held blocks out of a poll; those whose time has come go last, as they may not answer again."""
        if not self._held:
            return
        for request in [request for request in poll.pending if request.key in self._held]:
            poll.pending.remove(request)
            if self._held[request.key].until > poll.started:
                poll.missing += request.names
            else:
                poll.pending.append(request)

    def answered(self, request: Request) -> None:
        """Hold a block no more."""
        if self._held:
            self._held.pop(request.key, None)

    def failed(self, requests: Sequence[Request], now: float | None) -> None:
        """Hold blocks that failed: while others answered, from `now` (monotonic [s]) on; else they only go last."""
        for request in requests:
            first_s = self._first_s
            hold = self._held.setdefault(request.key, _Hold(Backoff(first_s, BLOCK_CAP_S, least_share=0.5)))
            if now is not None:
                hold.until = now + hold.backoff.next_s()
