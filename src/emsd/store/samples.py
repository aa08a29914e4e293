"""The raw samples that intervals are made of, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emsd.readings import to_datetime
from emsd.store.pool import Session

__all__ = ["LONG_RANGE_US", "SampleRange", "SampleRows", "read_samples"]


@dataclass(frozen=True, slots=True)
class SampleRange:
    """Which samples of one meter are wanted: all in [from_us, to_us) and `context` usable ones on either side."""

    meter_id: int
    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True, eq=False)
class SampleRows:
    """Samples of one meter in ascending order of time: int64[n] and float64[n] arrays, NaN where NULL."""

    time_us: NDArray[np.int64]
    import_kwh: NDArray[np.float64]
    export_kwh: NDArray[np.float64]
    power_kw: NDArray[np.float64]


# A usable sample is one that has what the meter's energy is made of: a counter, or else its power. {usable} is one of
# the fixed texts below, never a value from outside. The look back is bounded first, because an open one asks every
# chunk of the hypertable; who finds too little looks again without bound. What lies before $6 has been dropped but for
# its last samples, see emsd.store.retention; single late readings in there count for nothing.
_IMPORT, _EXPORT, _POWER = (
    f"{name} IS NOT NULL" for name in ("energy_import_kwh", "energy_export_kwh", "active_power_kw")
)
_COLUMNS: Final = "time, energy_import_kwh, energy_export_kwh, active_power_kw"
# One row a meter, and every column one string of bytes: array_send is what the protocol sends of an array, and without
# NULLs its elements have one length, so numpy reads it in place. As lists, each number would become an object first.
_BY_METER: Final = """
SELECT meter_id, array_send(array_agg(time)) AS time,
    array_send(array_agg(coalesce(energy_import_kwh, 'NaN'))) AS import_kwh,
    array_send(array_agg(coalesce(energy_export_kwh, 'NaN'))) AS export_kwh,
    array_send(array_agg(coalesce(active_power_kw, 'NaN'))) AS power_kw
FROM ({found}) AS found GROUP BY meter_id
"""
_EACH_RANGE: Final = """
    SELECT wanted.meter_id, sample.*
    FROM unnest($1::integer[], $2::timestamptz[], $3::timestamptz[]) AS wanted (meter_id, from_time, to_time)
    CROSS JOIN LATERAL (
        (SELECT {columns} FROM reading WHERE meter_id = wanted.meter_id
            AND time >= wanted.from_time AND time < wanted.to_time AND time >= $6)
        UNION ALL
        ({before})
        UNION ALL
        ({after})
    ) AS sample"""
_CONTEXT: Final = """
    SELECT wanted.meter_id, sample.*
    FROM unnest($1::integer[], $2::timestamptz[], $3::timestamptz[]) AS wanted (meter_id, from_time, to_time)
    CROSS JOIN LATERAL (({before}) UNION ALL ({after})) AS sample"""
# With "+ 0" no index on the meter applies, so the block range index on time finds the rows of all meters, which lie
# side by side; one by one they would be several times as dear. The planner does not see the difference.
_ONE_RANGE: Final = """
    SELECT meter_id, {columns} FROM reading
    WHERE meter_id + 0 = ANY($1::integer[])
        AND time >= greatest($2::timestamptz, $6::timestamptz) AND time < $3::timestamptz
    UNION ALL
    SELECT wanted.meter_id, sample.*
    FROM (SELECT meter_id, $2::timestamptz AS from_time, $3::timestamptz AS to_time
          FROM unnest($1::integer[]) AS each (meter_id)) AS wanted
    CROSS JOIN LATERAL (({before}) UNION ALL ({after})) AS sample"""
# Where most meters are wanted, it is cheaper to leave out the others at the end than to look at each row.
_OF_ALL: Final = """
    SELECT meter_id, {columns} FROM reading
    WHERE time >= greatest($2::timestamptz, $4::timestamptz) AND time < $3::timestamptz"""
_BEFORE: Final = """
    (SELECT {columns} FROM (
        (SELECT {columns} FROM reading WHERE meter_id = wanted.meter_id AND time < wanted.from_time
            AND time >= wanted.from_time - $4::interval AND time >= $6 AND {usable} ORDER BY time DESC LIMIT $5)
        UNION ALL
        (SELECT {columns} FROM reading_tail WHERE meter_id = wanted.meter_id AND time < wanted.from_time
            AND time >= wanted.from_time - $4::interval AND {usable})
     ) AS kept ORDER BY time DESC LIMIT $5)"""
_AFTER: Final = """
    (SELECT {columns} FROM reading
      WHERE meter_id = wanted.meter_id AND time >= wanted.to_time AND time < wanted.to_time + $4::interval
        AND time >= $6 AND {usable} ORDER BY time LIMIT $5)"""


_USABLE: Final = {
    "counter": (f"({_IMPORT} OR {_EXPORT})",),
    "each counter": (_IMPORT, _EXPORT),
    "power": (_POWER,),
}


def _reading_samples(kind: str, found: str, shape: str) -> str:
    """The query with the context of every kind of usable sample; a sample of several kinds comes once."""
    before, after = (
        " UNION ".join(part.format(usable=each, columns=_COLUMNS) for each in _USABLE[kind])
        for part in (_BEFORE, _AFTER)
    )
    return shape.format(found=found.format(before=before, after=after, columns=_COLUMNS))


_READ: Final = {kind: _reading_samples(kind, _EACH_RANGE, _BY_METER) for kind in _USABLE}
_READ_CONTEXT: Final = {kind: _reading_samples(kind, _CONTEXT, _BY_METER) for kind in _USABLE}
_READ_LONG: Final = {kind: _reading_samples(kind, _ONE_RANGE, _BY_METER) for kind in _USABLE}
_READ_OF_ALL: Final = f"{_BY_METER.format(found=_OF_ALL.format(columns=_COLUMNS))} HAVING meter_id = ANY($1::integer[])"
LONG_RANGE_US: Final = 900_000_000
"""From this length on, the rows of many meters over one range may be found by time; below it, meter by meter."""


async def read_samples(
    connection: Session,
    ranges: Sequence[SampleRange],
    *,
    by_counter: bool,
    each_counter: bool = False,
    context: int,
    reach_s: float,
    kept_from_us: int = 0,
    context_only: bool = False,
    are_many: bool = False,
    alone_if_long: bool = False,
) -> dict[int, SampleRows]:
    """Return the samples of each meter in its range, with up to `context` usable ones before and after.

    `by_counter` says whether a counter or the power makes a sample usable, `each_counter` whether there shall be so
    many samples of both counters, which costs more; context lies within `reach_s` [s] of the range. A meter without any
    sample is absent. Meters must not stand twice in `ranges`. With `context_only` nothing of the range itself is read.
    What lies before `kept_from_us` [us] is taken from the tail that retention has left. `are_many` says that these
    are a good part of all meters: where their ranges are nearly one long range, each may then get a little more; and
    with `alone_if_long`, for most of all meters, no context.
    """
    kind = "power" if not by_counter else "each counter" if each_counter else "counter"
    meter_ids = [each.meter_id for each in ranges]
    kept_from = to_datetime(kept_from_us)
    around = (to_datetime(int(reach_s * 1e6)) - to_datetime(0), context, kept_from)
    one = _one_range(ranges) if are_many and not context_only else None
    if one is not None and alone_if_long:
        rows = await connection.fetch(_READ_OF_ALL, meter_ids, *one, kept_from)
    elif one is not None:
        rows = await connection.fetch(_READ_LONG[kind], meter_ids, *one, *around)
    else:
        rows = await connection.fetch(
            (_READ_CONTEXT if context_only else _READ)[kind],
            meter_ids,
            [to_datetime(each.from_us) for each in ranges],
            [to_datetime(each.to_us) for each in ranges],
            *around,
        )
    return {meter_id: _sample_rows(*_columns_of(columns)) for meter_id, *columns in rows}


def _one_range(ranges: Sequence[SampleRange]) -> tuple[datetime, datetime] | None:
    """Return the range that holds all of them if that is long and hardly more than any of them."""
    from_us, to_us = min(each.from_us for each in ranges), max(each.to_us for each in ranges)
    least_us = min(each.to_us - each.from_us for each in ranges)
    is_one = least_us >= LONG_RANGE_US and to_us - from_us <= 1.25 * least_us
    return (to_datetime(from_us), to_datetime(to_us)) if is_one else None


_ARRAY_HEADER_BYTES: Final = 20
"""Dimensions, whether there are NULLs, type, and length and lower bound of the one dimension; array_send() of
PostgreSQL, src/backend/utils/adt/arrayfuncs.c."""
_US_UNTIL_2000: Final = 946_684_800_000_000
"""PostgreSQL counts its microseconds from 2000-01-01."""


def _elements(sent: bytes, kind: str) -> NDArray[Any]:
    """Return the elements of a one-dimensional array without NULLs as `array_send` writes it."""
    element = np.dtype([("length", ">i4"), ("value", kind)])
    found: NDArray[Any] = np.frombuffer(sent, dtype=element, offset=_ARRAY_HEADER_BYTES)["value"]
    return found


def _columns_of(sent: Sequence[bytes]) -> tuple[NDArray[Any], ...]:
    return tuple(_elements(column, kind) for column, kind in zip(sent, (">i8", ">f8", ">f8", ">f4"), strict=True))


def _sample_rows(
    time: NDArray[Any], import_kwh: NDArray[Any], export_kwh: NDArray[Any], power_kw: NDArray[Any]
) -> SampleRows:
    """Return samples in ascending order of time; the time is given as PostgreSQL counts it."""
    time_us = time.astype(np.int64) + _US_UNTIL_2000
    columns = [column.astype(np.float64) for column in (import_kwh, export_kwh, power_kw)]
    if time_us.size > 1 and not (time_us[1:] >= time_us[:-1]).all():
        order = np.argsort(time_us, kind="stable")
        time_us, columns = time_us[order], [column[order] for column in columns]
    return SampleRows(time_us, *columns)
