"""From the metrics of a message to the readings of a meter, by the mapping of its profile; compiled once per meter.

Metrics carry times of their own, and a node that was cut off sends what it kept: a message becomes one reading for each
time in it. Only the metrics that came are in them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from collectors.mqtt.times import EARLIEST_US, MOST_AHEAD_US
from collectors.plausibility import limits
from collectors.sparkplug.node import Value
from emsd.collector import BoundMeter
from emsd.plant.sparkplug_map import SparkplugValue
from emsd.quantities import RUN_STATE_CODES
from emsd.readings import Quality, Reading, columns

__all__ = ["Mapped", "MetricMapping"]

_IMPLAUSIBLE: Final = int(Quality.IMPLAUSIBLE)
_NOT_AVAILABLE: Final = int(Quality.NOT_AVAILABLE)


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a message says of one meter."""

    readings: tuple[Reading, ...]
    """In order of time."""
    rejected: int
    """Values that became None."""
    problem: str | None
    """Why some of its values are in no reading."""

    @property
    def is_empty(self) -> bool:
        """Whether the message does not concern the meter."""
        return not self.readings and self.problem is None


@dataclass(frozen=True, slots=True)
class _Rule:
    place: int
    """In the profile, so that readings of the same quantities have the same columns."""
    quantity: str
    scale: float
    add: float
    low: float
    high: float
    codes: dict[float, float] | None = field(hash=False)
    """Number of the metric -> code of the run state."""

    def value_of(self, number: float | None) -> tuple[float | None, int]:
        """Return what a metric's number means in the quantity's unit, and flags that say why it means nothing."""
        if number is None:
            return None, 0
        if self.codes is not None:
            code = self.codes.get(number)
            return code, _NOT_AVAILABLE if code is None else 0
        value = number * self.scale + self.add
        return (value, 0) if self.low <= value <= self.high else (None, _IMPLAUSIBLE)


class MetricMapping:
    """Understands the metrics of one meter.

    Raises:
        ValueError: its profile has no sparkplug map.
    """

    def __init__(self, bound: BoundMeter) -> None:
        mapping = bound.profile.sparkplug
        if mapping is None:
            raise ValueError("a meter on a Sparkplug B connection needs a profile with a sparkplug map")
        self._meter_id = bound.meter_id
        self._rules: dict[str, list[_Rule]] = defaultdict(list)
        for place, value in enumerate(mapping.values):
            self._rules[value.metric].append(_rule(place, value, bound.meter.rated_power_kw))

    def read(
        self, values: Sequence[Value], message_ms: int | None, received_us: int, *, repeated: bool = False
    ) -> Mapped:
        """Return what a message says of this meter.

        Args:
            values: what the message's metrics say.
            message_ms: the message's own time [ms since the epoch], for metrics that have none.
            received_us: its arrival [us since the epoch].
            repeated: it may have been delivered before.
        """
        by_time: dict[int, dict[_Rule, Value]] = {}
        problem: str | None = None
        for value in values:
            rules = self._rules.get(value.metric)
            if rules is None:
                continue
            time_ms = value.time_ms if value.time_ms is not None else message_ms
            if time_ms is None:
                problem = f"metric {value.metric!r} has no time, and neither has the message; correct the edge node"
            elif not EARLIEST_US <= time_ms * 1000 <= received_us + MOST_AHEAD_US:
                problem = (
                    f"the time {time_ms} of metric {value.metric!r} is before 2000 or more than an hour ahead; set the "
                    "clock of the edge node"
                )
            else:
                # Of two values of one metric at one time the later in the message counts.
                by_time.setdefault(time_ms * 1000, {}).update(dict.fromkeys(rules, value))
        readings, rejected = [], 0
        for time_us in sorted(by_time):
            reading, none = self._reading(time_us, by_time[time_us], repeated=repeated)
            readings.append(reading)
            rejected += none
        return Mapped(tuple(readings), rejected, problem)

    def _reading(self, time_us: int, found: dict[_Rule, Value], *, repeated: bool) -> tuple[Reading, int]:
        quality = int(Quality.DEVICE_TIME | (Quality.REPLAYED if repeated else Quality.GOOD))
        numbers: list[float | None] = []
        rules = sorted(found, key=lambda rule: rule.place)
        for rule in rules:
            value = found[rule]
            number, flags = rule.value_of(value.number)
            quality |= value.flags | flags
            numbers.append(number)
        names = columns(*(rule.quantity for rule in rules))
        return Reading(time_us, self._meter_id, names, tuple(numbers), quality), numbers.count(None)


def _rule(place: int, value: SparkplugValue, rated_power_kw: float | None) -> _Rule:
    low, high = limits(value.quantity, rated_power_kw)
    codes = None
    if value.states is not None:
        codes = {float(number): RUN_STATE_CODES[state] for number, state in value.states.items()}
    return _Rule(place, value.quantity, value.scale, value.add, low, high, codes)
