"""Samples on a time axis, and what is made of them: energy with a beginning and an end.

Times are int64 microseconds since 1970-01-01 UTC (`time_us`), as exact as the database's timestamptz; an array of
samples is in ascending order of time, and a missing value is NaN. `sort_unique` makes any samples so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntFlag
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BUCKET_15M_US",
    "BUCKET_1M_US",
    "US_PER_HOUR",
    "US_PER_S",
    "BoolArray",
    "FlagArray",
    "FloatArray",
    "IncrementFlag",
    "Increments",
    "TimeArray",
    "bucket_edges",
    "ceil_us",
    "datetime_from_us",
    "datetime_to_us",
    "floor_us",
    "sort_unique",
    "usable_samples",
]

TimeArray: TypeAlias = NDArray[np.int64]
FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]
FlagArray: TypeAlias = NDArray[np.uint8]

US_PER_S = 1_000_000
US_PER_HOUR = 3_600 * US_PER_S
BUCKET_1M_US = 60 * US_PER_S
BUCKET_15M_US = 15 * BUCKET_1M_US

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class IncrementFlag(IntFlag):
    """What was special about a stretch of energy; bits of `Increments.flags` (uint8), and of tiers (smallint)."""

    NONE = 0
    ROLLOVER = 1  # the counter passed its modulus and began again at 0
    RESET = 2  # the counter restarted; the energy is what it counted since, a lower bound unless an event says more
    GLITCH = 4  # implausible samples in between were left out
    STEP = 8  # the counter moved by an amount that is no energy; the energy of the stretch is unknown
    DIP = 16  # samples slightly below the last good one were left out
    SWAP = 32  # the meter was exchanged: the stretch ends or begins there
    HELD_OUT = 64  # samples in between were left out: their time is wrong, or a person said so
    PARTIAL = 128  # a meter that a virtual one is made of is unknown here, and left out of it
    SIMULATED = 256  # never flowed: history that the simulator wrote; only in rows of tiers, no stretch has it


@dataclass(frozen=True, slots=True, eq=False)
class Increments:
    """Energy in m stretches of time that follow each other and do not overlap.

    start_us, end_us    int64[m], end > start, start[i + 1] >= end[i]
    energy_kwh          float64[m] [kWh], NaN where it is unknown (STEP)
    estimated           bool[m], the stretch is longer than the longest gap that still counts as measured
    flags               uint8[m], bits of IncrementFlag
    pending             the series ends in samples that only a later one can judge; nothing is counted for them yet
    """

    start_us: TimeArray
    end_us: TimeArray
    energy_kwh: FloatArray
    estimated: BoolArray
    flags: FlagArray
    pending: bool = False

    @property
    def total_kwh(self) -> float:
        """Known energy of all stretches [kWh]; 0.0 when there are none."""
        return float(np.nansum(self.energy_kwh))

    @classmethod
    def joined(cls, parts: Sequence[Increments], *, pending: bool) -> Increments:
        """Return parts that follow each other as one."""
        return cls(
            np.concatenate([part.start_us for part in parts]),
            np.concatenate([part.end_us for part in parts]),
            np.concatenate([part.energy_kwh for part in parts]),
            np.concatenate([part.estimated for part in parts]),
            np.concatenate([part.flags for part in parts]),
            pending,
        )


def usable_samples(time_us: TimeArray, values: NDArray[np.floating]) -> tuple[TimeArray, FloatArray]:
    """Return the finite samples, the first one of those with equal time.

    Raises ValueError when the times are not in ascending order.
    """
    times = np.asarray(time_us, dtype=np.int64)
    column = np.asarray(values, dtype=np.float64)
    if times.shape != column.shape or times.ndim != 1:
        raise ValueError(f"time_us has shape {times.shape} and the values {column.shape}; both must be [n]")
    finite = np.isfinite(column)
    if not finite.all():
        times, column = times[finite], column[finite]
    if times.size > 1:
        step = times[1:] - times[:-1]
        shortest = step.min()
        if shortest < 0:
            position = int(np.argmax(step < 0)) + 1
            raise ValueError(f"time_us descends at position {position}; pass the samples through sort_unique first")
        if shortest == 0:
            first = np.concatenate(([True], step > 0))
            times, column = times[first], column[first]
    return times, column


def sort_unique(time_us: TimeArray, *columns: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Return time_us and every column in ascending order of time, the first row of those with equal time.

    Arrays [n] in, arrays [<= n] out; the given arrays come back untouched when nothing is to be done.
    """
    times = np.asarray(time_us, dtype=np.int64)
    if times.size < 2 or bool((times[1:] > times[:-1]).all()):
        return (times, *columns)
    # np.unique returns the first position of each value, which is what "first wins" asks for.
    ordered, first = np.unique(times, return_index=True)
    return (ordered, *(column[first] for column in columns))


def floor_us(time_us: int, width_us: int) -> int:
    """Return the last multiple of width_us at or before time_us [us]."""
    return time_us - time_us % width_us


def ceil_us(time_us: int, width_us: int) -> int:
    """Return the first multiple of width_us at or after time_us [us]."""
    return time_us + -time_us % width_us


def bucket_edges(from_us: int, to_us: int, width_us: int) -> TimeArray:
    """Return the k + 1 edges of the k aligned buckets that together hold [from_us, to_us)."""
    return np.arange(floor_us(from_us, width_us), ceil_us(to_us, width_us) + 1, width_us, dtype=np.int64)


def datetime_to_us(instant: datetime) -> int:
    """Return an aware datetime as microseconds since the epoch, exactly; raises TypeError when it is naive."""
    return (instant - _EPOCH) // _MICROSECOND


def datetime_from_us(time_us: int) -> datetime:
    """Return microseconds since the epoch as a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=int(time_us))
