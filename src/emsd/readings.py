"""Reading: what one meter said at one instant; Quality: what is known to be wrong with it.

A reading carries its values as a tuple beside an interned `Columns`, not as a dict: thousands pass through the process
every second, and all readings of one poll plan share the same columns, so a batch turns into arrays by grouping on one
object identity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntFlag
from functools import lru_cache
from typing import Final

from emsd.quantities import BY_NAME

__all__ = ["EPOCH", "Columns", "Quality", "Reading", "columns", "instant_us", "reading_of", "to_datetime"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Quality(IntFlag):
    """Why a value of a reading is NULL, or what else to know of it; 0 is good. Stored as smallint.

    The flags speak of the reading as a whole: which values are concerned shows in which are NULL.
    """

    GOOD = 0
    MISSING = 1
    """A value could not be read: its block failed while another block of the same poll answered."""
    NOT_AVAILABLE = 2
    """The device itself said "no value": a sentinel, NaN, or an unmapped state code."""
    IMPLAUSIBLE = 4
    """A value was outside what its quantity, or the meter's rating, allows."""
    STALE = 8
    """The device said that its data is no longer refreshed."""
    DEVICE_TIME = 16
    """The time is the device's own, not the arrival of its answer."""
    REPLAYED = 32
    """Delivered as a retained, historical or repeated message."""
    SIMULATED_HISTORY = 64
    """Written by the simulator for a time before it ran."""


class Columns(tuple[str, ...]):
    """Names of quantities in the order of a reading's values; equal columns are one object, see `columns()`."""

    __slots__ = ()

    def index_of(self, name: str) -> int | None:
        """Return the position of quantity `name`, or None when these columns lack it."""
        try:
            return self.index(name)
        except ValueError:
            return None


@lru_cache(maxsize=4096)
def columns(*names: str) -> Columns:
    """Return the one Columns object for these quantities.

    Raises:
        KeyError: a name is not in the vocabulary.
        ValueError: a name stands twice.
    """
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        raise KeyError(", ".join(unknown))
    if len(set(names)) != len(names):
        raise ValueError(f"a quantity stands twice in {names}")
    return Columns(names)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one meter said at one instant.

    `time_us` is the instant its response arrived, or the device's own time where the profile says so, in microseconds
    since 1970-01-01 UTC. `values` stands in the order of `columns`; None is a value that is missing, and `quality`
    then says why.
    """

    time_us: int
    meter_id: int
    columns: Columns
    values: tuple[float | None, ...]
    quality: int = Quality.GOOD

    @property
    def time(self) -> datetime:
        """The instant as an aware UTC datetime."""
        return to_datetime(self.time_us)

    def value(self, name: str) -> float | None:
        """Return the value of quantity `name`; None when it is missing or not among the columns."""
        position = self.columns.index_of(name)
        return None if position is None else self.values[position]

    def items(self) -> Iterator[tuple[str, float | None]]:
        """Yield (quantity name, value) in the order of the columns."""
        return zip(self.columns, self.values, strict=True)


def reading_of(
    meter_id: int, when: datetime | int, values: Mapping[str, float | None], quality: int = Quality.GOOD
) -> Reading:
    """Build a reading from a mapping; `when` is an aware datetime or microseconds since the epoch."""
    time_us = when if isinstance(when, int) else instant_us(when)
    return Reading(time_us, meter_id, columns(*values), tuple(values.values()), int(quality))


def instant_us(when: datetime) -> int:
    """Return an aware datetime as whole microseconds since 1970-01-01 UTC, exactly."""
    return (when - EPOCH) // timedelta(microseconds=1)


def to_datetime(time_us: int) -> datetime:
    """Return microseconds since 1970-01-01 UTC as an aware datetime, exactly."""
    return EPOCH + timedelta(microseconds=time_us)
