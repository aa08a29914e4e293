"""What happened to a meter, as far as its energy is concerned.

A counter can only say what it shows. That the device behind it was exchanged, set to zero, or got other current
transformers is known to people, and sometimes to the device itself; such an event changes what the readings mean:

    swap             another device from `at` on: the series is cut, energy is final - last before it and next - initial
                     after it; a reading that nobody took leaves its stretch unknown
    reset            the counter was set to 0: the same, with 0 as the initial reading
    ct_ratio         from `at` on energy and power are what the device says times `factor`, until the next such event
    manual_reading   what a person read off the counter: a sample like any other, in the middle of a gap
    hold_out         samples from `at` until `until` are left out, all of them or those of one range of the counter

Readings are those of the display: in kWh, before any factor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Literal, TypeAlias

import numpy as np

from emsd.energy.series import US_PER_HOUR, BoolArray, FloatArray, TimeArray

__all__ = [
    "CounterName",
    "CounterPair",
    "EventKind",
    "MeterEvent",
    "Ratio",
    "effective",
    "events_of_other_counter",
    "held_out_of_all",
    "ratio_of",
]

CounterName: TypeAlias = Literal["import_kwh", "export_kwh"]

_HIGHEST_KWH: Final = 1e15
_LATE_US: Final = US_PER_HOUR
"""How much later than the device itself a person may put a swap and still mean the same one."""


class EventKind(StrEnum):
    """What happened."""

    SWAP = "swap"
    RESET = "reset"
    CT_RATIO = "ct_ratio"
    MANUAL_READING = "manual_reading"
    HOLD_OUT = "hold_out"


@dataclass(frozen=True, slots=True)
class CounterPair:
    """Readings of both counters of a meter [kWh]; None where nobody read it.

    Raises ValueError when a reading is negative or no number.
    """

    import_kwh: float | None = None
    export_kwh: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("import", self.import_kwh), ("export", self.export_kwh)):
            if value is not None and not 0 <= value <= _HIGHEST_KWH:
                raise ValueError(f"the {name} reading {value:g} is none of a counter; write kWh, 0 to {_HIGHEST_KWH:g}")

    def of(self, counter: CounterName) -> float | None:
        """Return the reading of one counter [kWh]."""
        return self.import_kwh if counter == "import_kwh" else self.export_kwh

    def __bool__(self) -> bool:
        return self.import_kwh is not None or self.export_kwh is not None


_NOTHING: Final = (None, CounterPair())
_LEAST: Final = 1e-6
_TAKEN_BY: Final = {
    "final": {EventKind.SWAP, EventKind.RESET},
    "initial": {EventKind.SWAP},
    "reading": {EventKind.MANUAL_READING},
    "factor": {EventKind.CT_RATIO},
    "serial": {EventKind.SWAP},
    "since_us": {EventKind.SWAP},
    "first_us": {EventKind.SWAP, EventKind.RESET},
    "until_us": {EventKind.HOLD_OUT},
    "counter": {EventKind.HOLD_OUT},
}
_IN_WORDS: Final = {
    "final": "final reading",
    "initial": "initial reading",
    "serial": "serial number",
    "until_us": "end",
    "first_us": "first reading after it",
}


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """One event of one meter.

    at_us      when it happened [us]
    final      swap, reset: what the counters showed last
    initial    swap: what those of the new device showed first
    reading    manual_reading: what was read
    factor     ct_ratio: by what energy and power of the device are to be multiplied, > 0
    serial     swap: serial number of the new device
    since_us   swap told by the device itself: when the old one was last met [us]; nobody wrote it down
    first_us   swap, reset: time of the first sample that belongs to what came after, where it is not `at_us`
    until_us   hold_out: the end of it, not included [us]
    counter, low_kwh, high_kwh  hold_out: only samples with this counter in [low, high]; None: all

    Raises ValueError, with the cure, when it lacks what its kind needs.
    """

    kind: EventKind
    at_us: int
    final: CounterPair = field(default=CounterPair())
    initial: CounterPair = field(default=CounterPair())
    reading: CounterPair = field(default=CounterPair())
    factor: float | None = None
    serial: str | None = None
    since_us: int | None = None
    first_us: int | None = None
    until_us: int | None = None
    counter: CounterName | None = None
    low_kwh: float = -math.inf
    high_kwh: float = math.inf

    def __post_init__(self) -> None:
        for name, kinds in _TAKEN_BY.items():
            if self.kind not in kinds and getattr(self, name) not in _NOTHING:
                raise ValueError(f"a {self.kind} event takes no {_IN_WORDS.get(name, name)}; leave it out")
        if self.kind is EventKind.CT_RATIO and not (self.factor is not None and _LEAST <= self.factor <= 1 / _LEAST):
            raise ValueError(
                "a ct_ratio event needs a factor of 0.000001 to 1000000: true energy / energy of the device"
            )
        if self.kind is EventKind.MANUAL_READING and not self.reading:
            raise ValueError("a manual_reading event needs the reading of the import or the export counter [kWh]")
        if self.kind is EventKind.HOLD_OUT and not (self.until_us is not None and self.until_us > self.at_us):
            raise ValueError("a hold_out event needs an end that is later than its beginning")

    @property
    def cuts(self) -> bool:
        """Whether the counter's series ends here and another begins."""
        return self.kind in {EventKind.SWAP, EventKind.RESET}

    @property
    def boundary_us(self) -> int:
        """From when on samples belong to what came after [us]."""
        return self.at_us if self.first_us is None else self.first_us

    def holds_out(self, time_us: TimeArray, counter_kwh: FloatArray | None) -> BoolArray:
        """Return which samples a hold_out leaves out; `counter_kwh` is the column of its counter."""
        held: BoolArray = (time_us >= self.at_us) & (time_us < (self.until_us or self.at_us))
        if self.counter is None:
            return held
        if counter_kwh is None:
            return np.zeros(time_us.size, dtype=np.bool_)
        return held & (counter_kwh >= self.low_kwh) & (counter_kwh <= self.high_kwh)


def effective(events: Sequence[MeterEvent]) -> tuple[MeterEvent, ...]:
    """Return the events of one meter that count, in order of time.

    A swap that the device told of itself has no readings. Where a person wrote down the same swap, between the last
    sight of the old device and an hour after the first of the new one, theirs counts; which samples belong to the new
    device is then still said by the device.
    """
    told = [event for event in events if event.since_us is not None]
    counted = [event for event in events if event.since_us is None]
    for place, event in enumerate(counted):
        same = [each for each in told if event.kind is EventKind.SWAP and _is_same(event, each)]
        if same:
            nearest = min(same, key=lambda each: abs(each.at_us - event.at_us))
            told.remove(nearest)
            counted[place] = replace(event, first_us=nearest.at_us, serial=event.serial or nearest.serial)
    return tuple(sorted((*counted, *told), key=lambda event: event.at_us))


def events_of_other_counter(events: Sequence[MeterEvent], *, by_current: bool) -> list[MeterEvent]:
    """Return what events say of a counter that is none of active energy: people read the others only.

    by_current  whether other current transformers change it, as they do reactive energy, and no count of pieces
    """
    kinds = {EventKind.SWAP, EventKind.RESET}
    if by_current:
        kinds.add(EventKind.CT_RATIO)
    return [replace(each, final=CounterPair(), initial=CounterPair()) for each in events if each.kind in kinds]


def held_out_of_all(events: Sequence[MeterEvent], time_us: TimeArray) -> BoolArray:
    """Return which samples are held out whatever they show: bool[n]."""
    held = np.zeros(time_us.size, dtype=np.bool_)
    for event in events:
        if event.kind is EventKind.HOLD_OUT and event.counter is None:
            held |= event.holds_out(time_us, None)
    return held


def _is_same(written: MeterEvent, told: MeterEvent) -> bool:
    return told.since_us is not None and told.since_us <= written.at_us <= told.at_us + _LATE_US


@dataclass(frozen=True, slots=True, eq=False)
class Ratio:
    """By what the energy and power of a device are multiplied, as a function of time.

    at_us   int64[m], ascending, m >= 1: when it changes
    factor  float64[m + 1]: before the first change, and from each on
    """

    at_us: TimeArray
    factor: FloatArray

    def at(self, time_us: TimeArray) -> FloatArray:
        """Return the factor at each time."""
        return self.factor[np.searchsorted(self.at_us, time_us, side="right")]

    def device_us(self, time_us: TimeArray) -> FloatArray:
        """Return time as the device counts it [us]: the integral of 1 / factor, 0 at the first change.

        A device that shows a fifth of the true energy may count a fifth of the plausible one.
        """
        at_changes = np.concatenate(([0.0], np.cumsum(np.diff(self.at_us) / self.factor[1:-1])))
        place = np.searchsorted(self.at_us, time_us, side="right")
        from_change = np.maximum(place - 1, 0)
        elapsed: FloatArray = at_changes[from_change] + (time_us - self.at_us[from_change]) / self.factor[place]
        return elapsed


def ratio_of(events: Sequence[MeterEvent]) -> Ratio | None:
    """Return the factor as a function of time; None when no event changes it. Of equal times the last counts."""
    changes = {event.at_us: event.factor for event in events if event.factor is not None}
    if not changes:
        return None
    ordered = sorted(changes)
    return Ratio(np.array(ordered, dtype=np.int64), np.array([1.0, *(changes[at] for at in ordered)], dtype=np.float64))
