"""When the condition of an alarm holds: thresholds with deadband and on-delay, and meters that fell silent.

A rule is data; its evaluator is the small state machine that one meter keeps for it. Both are pure: the clock is
passed in. The same readings give a threshold the same changes at the same times, however often `tick` was called in
between, as long as it did not run ahead of a reading that was still on its way.

    value beyond the limit    on-delay runs; a value that is not beyond stops it
    on-delay over             the condition holds, from the moment the delay ran out
    value within the deadband the condition stays as it is
    value back past it        the condition ends
    missing value             nothing is known, so nothing changes: silence is the matter of Stale

Between two readings the last value counts: the on-delay of a meter that is read every 15 minutes runs out by time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

from emsd.alarms.lifecycle import Event
from emsd.quantities import quantity
from emsd.readings import Quality, Reading

__all__ = [
    "SHORTEST_STALE_LIMIT_S",
    "Change",
    "Evaluator",
    "Rule",
    "Stale",
    "StaleEvaluator",
    "Threshold",
    "ThresholdEvaluator",
]

_US_PER_S: Final = 1_000_000

SHORTEST_STALE_LIMIT_S: Final = 5.0
"""However fast a meter is polled, a pause of a network up to this long is no alarm [s]."""

# These do not show that the meter speaks now: a gateway repeats old data, or the message is an old one.
_NOT_FRESH: Final = Quality.STALE | Quality.REPLAYED | Quality.SIMULATED_HISTORY


@dataclass(frozen=True, slots=True)
class Change:
    """The condition of one rule began (`Event.OCCUR`) or ended (`Event.RETURN`) at `time_us`, with its last value."""

    event: Event
    time_us: int
    value: float | None


class Evaluator(Protocol):
    """What one meter remembers for one rule."""

    @property
    def active(self) -> bool:
        """Whether the condition holds."""

    def observe(self, reading: Reading, now_us: int) -> tuple[Change, ...]:
        """Take a reading that arrived at `now_us`; return what changed, in order of time."""

    def tick(self, now_us: int) -> tuple[Change, ...]:
        """Let time pass up to `now_us` without a reading; return what changed."""

    def assume_active(self) -> None:
        """Take over an alarm that stood before this process began; the next reading says whether it still does."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A quantity beyond a limit.

    above, below  limits, in the quantity's unit; at least one. The limit itself is not beyond it
    deadband      how far the value must come back before the condition ends, in the quantity's unit
    on_delay_s    how long the value must stay beyond a limit before the condition holds [s]

    Raises ValueError when the limits cannot be met, and KeyError when the quantity is not in the vocabulary.
    """

    quantity: str
    above: float | None = None
    below: float | None = None
    deadband: float = 0.0
    on_delay_s: float = 0.0

    def __post_init__(self) -> None:
        unit = quantity(self.quantity).unit
        if self.above is None and self.below is None:
            raise ValueError("has neither above nor below; give at least one")
        if self.deadband < 0 or self.on_delay_s < 0:
            raise ValueError(f"deadband {self.deadband:g} and on_delay_s {self.on_delay_s:g} must not be negative")
        if self.above is not None and self.below is not None and self.above - self.below < 2 * self.deadband:
            raise ValueError(
                f"above {self.above:g} and below {self.below:g} {unit} leave no room for a deadband of"
                f" {self.deadband:g} {unit} on either side, so the alarm could never return"
            )

    def beyond(self, value: float) -> bool:
        """Whether `value` lies beyond a limit."""
        return (self.above is not None and value > self.above) or (self.below is not None and value < self.below)

    def back(self, value: float) -> bool:
        """Whether `value` has come back past the deadband of every limit."""
        return (self.above is None or value <= self.above - self.deadband) and (
            self.below is None or value >= self.below + self.deadband
        )

    def describe(self) -> str:
        """Return the rule in words: `room_pressure_pa < 15 Pa for 5 s`."""
        unit = quantity(self.quantity).unit
        limits = ((">", self.above), ("<", self.below))
        words = " or ".join(f"{sign} {_plain(limit)} {unit}" for sign, limit in limits if limit is not None)
        delay = f" for {_plain(self.on_delay_s)} s" if self.on_delay_s else ""
        return f"{self.quantity} {words}{delay}"

    def evaluator(self, start_us: int) -> ThresholdEvaluator:  # noqa: ARG002 - every rule is asked the same way
        """Return a new evaluator; a threshold knows nothing before its first value."""
        return ThresholdEvaluator(self)


@dataclass(frozen=True, slots=True)
class Stale:
    """A meter that has delivered no fresh reading for `limit_s` [s]; raises ValueError when that is not above 0.

    `may_rest` says of an instant [us since the epoch] whether the meter is expected to be silent, as a PV inverter by
    night. Such silence raises nothing, and none of it counts once the rest is over.
    """

    limit_s: float
    may_rest: Callable[[int], bool] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.limit_s > 0:
            raise ValueError(f"the longest silence {self.limit_s:g} s must be greater than 0")

    @classmethod
    def after(cls, polls: int, poll_interval_s: float, may_rest: Callable[[int], bool] | None = None) -> Self:
        """Return the rule for so many missing polls in a row, at least SHORTEST_STALE_LIMIT_S."""
        return cls(max(polls * poll_interval_s, SHORTEST_STALE_LIMIT_S), may_rest)

    def describe(self) -> str:
        """Return the rule in words: `no reading for 5 s`."""
        return f"no reading for {_plain(self.limit_s)} s"

    def evaluator(self, start_us: int) -> StaleEvaluator:
        """Return a new evaluator for a meter that is expected to speak from `start_us` on."""
        return StaleEvaluator(self, start_us)


Rule = Threshold | Stale


class ThresholdEvaluator:
    """The state machine of one Threshold at one meter; `active` says whether its condition holds."""

    __slots__ = (
        "_active_since_us",
        "_behind_us",
        "_beyond_since_us",
        "_last_us",
        "_on_delay_us",
        "_rule",
        "_value",
        "active",
    )

    def __init__(self, rule: Threshold) -> None:
        self._rule = rule
        self._on_delay_us = round(rule.on_delay_s * _US_PER_S)
        self._last_us: int | None = None
        self._behind_us = 0
        self._beyond_since_us: int | None = None
        self._active_since_us = 0
        self._value: float | None = None
        self.active = False

    def observe(self, reading: Reading, now_us: int) -> tuple[Change, ...]:
        """Take a reading that arrived at `now_us`; return what changed, in order of time.

        Older readings than the last one are ignored, and so is one without a value of the quantity. A device's clock
        that runs ahead counts as now, or one wrong time in the future would hide everything after it.
        """
        value = reading.value(self._rule.quantity)
        time_us = min(reading.time_us, now_us)
        if value is None or math.isnan(value) or (self._last_us is not None and time_us <= self._last_us):
            return ()
        before = self._elapse(time_us - 1)
        self._last_us = time_us
        self._behind_us = now_us - time_us
        self._value = value
        return (*before, *self._judge(time_us, value))

    def tick(self, now_us: int) -> tuple[Change, ...]:
        """Let an on-delay run out up to `now_us`, by the clock of the meter's readings."""
        return self._elapse(now_us - self._behind_us)

    def assume_active(self) -> None:
        """Take over an alarm that stood before this process began; the next value says whether it still does."""
        self.active = True
        self._beyond_since_us = None

    def _judge(self, time_us: int, value: float) -> tuple[Change, ...]:
        if self.active:
            if not self._rule.back(value):
                return ()
            self.active = False
            # A reading may arrive after the on-delay ran out and yet be from before; nothing ends before it begins.
            return (Change(Event.RETURN, max(time_us, self._active_since_us), value),)
        if not self._rule.beyond(value):
            self._beyond_since_us = None
            return ()
        if self._beyond_since_us is None:
            self._beyond_since_us = time_us
        return self._elapse(time_us)

    def _elapse(self, until_us: int) -> tuple[Change, ...]:
        if self._beyond_since_us is None or until_us < self._beyond_since_us + self._on_delay_us:
            return ()
        self._active_since_us = self._beyond_since_us + self._on_delay_us
        self._beyond_since_us = None
        self.active = True
        return (Change(Event.OCCUR, self._active_since_us, self._value),)


class StaleEvaluator:
    """The state machine of Stale at one meter; `active` says whether the meter is silent.

    Silence is measured by arrival: a meter whose own clock is wrong still speaks.
    """

    __slots__ = ("_last_us", "_limit_us", "_may_rest", "active")

    def __init__(self, rule: Stale, start_us: int) -> None:
        self._limit_us = round(rule.limit_s * _US_PER_S)
        self._may_rest = rule.may_rest
        self._last_us = start_us
        self.active = False

    def observe(self, reading: Reading, now_us: int) -> tuple[Change, ...]:
        """Take a reading that arrived at `now_us`; one that is replayed, or marked stale by its device, is silence."""
        if reading.quality & _NOT_FRESH:
            return ()
        self._last_us = max(self._last_us, now_us)
        if not self.active:
            return ()
        self.active = False
        return (Change(Event.RETURN, self._last_us, None),)

    def tick(self, now_us: int) -> tuple[Change, ...]:
        """Return the begin of the silence when it has lasted longer than the limit at `now_us`."""
        if self._may_rest is not None and self._may_rest(now_us):
            self._last_us = max(self._last_us, now_us)
        due_us = self._last_us + self._limit_us
        if self.active or now_us <= due_us:
            return ()
        self.active = True
        return (Change(Event.OCCUR, due_us, None),)

    def assume_active(self) -> None:
        """Take over an alarm that stood before this process began; the next reading ends it."""
        self.active = True


def _plain(number: float) -> str:
    """Write a number without exponent and without needless digits: 15, 0.5, 12500."""
    return f"{number:.6f}".rstrip("0").rstrip(".")
