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
    retry_at: float = 0.0
    """When the attempt failed after which it is still in hand, on the monotonic clock [s]."""
    missing: list[str] = field(default_factory=list)
    """Quantities that are not going to be answered."""
    failed: list[Request] = field(default_factory=list)
    refusals: int = 0
    stale: bool = False
    """Whether the device said that its data is old."""
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
        for request in self.pending:
            self.missing += request.names
        self.pending.clear()

    def readings(self, meter_id: int, unsupported: Sequence[str]) -> Iterator[Reading]:
        """Yield what was answered; the first reading says what is missing, and what this device never has."""
        first = self.instants[0]
        for names, reason in ((self.missing, int(Quality.MISSING)), (unsupported, int(Quality.NOT_AVAILABLE))):
            if names:
                first.names += names
                first.values += [None] * len(names)
                first.quality |= reason
        for instant in self.instants:
            yield Reading(instant.time_us, meter_id, columns(*instant.names), tuple(instant.values), instant.quality)
