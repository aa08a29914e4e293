"""One tick of one meter while it is in hand: what is still to be asked, and what was answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from collectors.modbus.reads import Request
from emsd.readings import Quality, Reading, columns

__all__ = ["SAME_INSTANT_US", "Poll"]

SAME_INSTANT_US: Final = 100_000
"""Answers of one poll that arrive within this time of the first form one reading; later ones a further reading [us]."""

STANDSTILL_US: Final = 1_000
"""A reading less than this older than the last one comes from a clock that stands still or was set back a hair [us]."""


@dataclass(slots=True)
class _Instant:
    """Answers that belong to one reading."""

    time_us: int
    names: list[str] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    quality: int = 0


@dataclass(slots=True)
class Poll:
    """One tick in hand."""

    pending: deque[Request]
    """What is still to be asked, in this order."""
    periods: dict[float, int]
    """The slower rates that are due, each with the number of its period."""
    retries_left: int
    started: float
    """When it began, on the monotonic clock [s]."""
    until: float
    """When the next tick is due, on the monotonic clock [s]."""
    probing: bool = False
    """Whether the device did not answer last time: the first request that is refused ends the poll."""
    retry_at: float = 0.0
    """When to go on while it is still in hand, on the monotonic clock [s]."""
    busy: list[Request] = field(default_factory=list)
    """What is asked once more after a pause, because the device was busy."""
    busy_pauses: int = 0
    """How many such pauses there were."""
    missing: list[str] = field(default_factory=list)
    """Quantities that are not going to be answered."""
    failed: list[Request] = field(default_factory=list)
    refusals: int = 0
    stale: bool = False
    """Whether the device's data is known to be old."""
    instants: list[_Instant] = field(default_factory=list)

    @property
    def answered(self) -> bool:
        """Whether the device answered anything."""
        return bool(self.instants)

    @property
    def complete(self) -> bool:
        """Whether it answered everything, with data that it keeps fresh."""
        return not self.missing and not self.stale

    @property
    def makes_no_sense(self) -> bool:
        """Whether it was answered, with values none of which can be true."""
        implausible = any(instant.quality & Quality.IMPLAUSIBLE for instant in self.instants)
        return implausible and all(value is None for _, value in self.values())

    @property
    def first_answer_us(self) -> int:
        """Arrival of the first answer [us]."""
        return self.instants[0].time_us

    def take(self, request: Request, values: Sequence[float | None], quality: int, arrived_us: int) -> None:
        """Keep the values of an answered request."""
        if not self.instants or not 0 <= arrived_us - self.instants[-1].time_us <= SAME_INSTANT_US:
            self.instants.append(_Instant(arrived_us))
        instant = self.instants[-1]
        instant.names += request.names
        instant.values += values
        instant.quality |= quality

    def fail(self, request: Request) -> None:
        """Take note that a request is not going to be answered."""
        self.failed.append(request)
        self.missing += request.names

    def drop_pending(self) -> None:
        """Ask for nothing more."""
        for request in (*self.pending, *self.busy):
            self.missing += request.names
        self.pending.clear()
        self.busy.clear()

    def pause(self, until: float) -> None:
        """Go on at `until` (monotonic [s]) with what the device was too busy for."""
        self.pending.extend(self.busy)
        self.busy.clear()
        self.busy_pauses += 1
        self.retry_at = until

    def values(self) -> Iterator[tuple[str, float | None]]:
        """Yield (quantity name, value) of everything that was answered."""
        for instant in self.instants:
            yield from zip(instant.names, instant.values, strict=True)

    def distrust(self) -> None:
        """Take no value of it: its data is old, however new its answers are."""
        self.stale = True
        for instant in self.instants:
            instant.values = [None] * len(instant.values)
            instant.quality |= int(Quality.STALE)

    def readings(self, meter_id: int, after_us: int = 0) -> Iterator[Reading]:
        """Yield what was answered; the first reading says what is missing.

        `after_us` is the time of the meter's last reading [us]. Readings keep the clock's time, wherever it was set to;
        only where it stands still they follow each other by a microsecond, as two of one instant would become one row.
        """
        first = self.instants[0]
        if self.missing:
            first.names += self.missing
            first.values += [None] * len(self.missing)
            first.quality |= int(Quality.MISSING)
        for instant in self.instants:
            time_us = instant.time_us
            if 0 <= after_us - time_us < STANDSTILL_US:
                time_us = after_us + 1
            after_us = time_us
            yield Reading(time_us, meter_id, columns(*instant.names), tuple(instant.values), instant.quality)
