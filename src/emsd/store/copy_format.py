"""Readings as the byte stream that COPY ... FROM STDIN (FORMAT binary) takes, built from numpy arrays.

A row on the wire is the number of fields (int16) and for each field its length (int32, -1 for NULL) and its bytes, all
big-endian (PostgreSQL documentation, "COPY", section Binary Format). Readings with the same columns have rows of one
layout, so a whole group is one structured array: a template row is repeated, and each column is written into it at
once. Where values are missing, the bytes of the value are cut out of the row and its length becomes -1; that costs the
same whatever the pattern of missing values, and complete rows do not pay for it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emsd.errors import BadRow
from emsd.quantities import BY_NAME, QUANTITIES, Kind
from emsd.readings import Columns, Quality, Reading, instant_us

__all__ = ["KEY_COLUMNS", "check_reading", "copy_columns", "copy_stream", "is_storable"]

KEY_COLUMNS: Final = ("time", "meter_id", "quality")

HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + struct.pack("!ii", 0, 0)  # signature, flags, no extension
TRAILER: Final = struct.pack("!h", -1)
CHUNK_ROWS: Final = 2000
CHUNK_BYTES: Final = 64 * 1024

POSTGRES_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01, from which PostgreSQL counts microseconds
# What both PostgreSQL and Python can represent, so that every row that is written can be read.
FIRST_TIME_US: Final = 0
LAST_TIME_US: Final = instant_us(datetime.max.replace(tzinfo=UTC))
INT32_MAX: Final = 2**31 - 1
INT16_MAX: Final = 2**15 - 1

ORDER: Final = {quantity.name: place for place, quantity in enumerate(QUANTITIES)}


@dataclass(frozen=True, slots=True)
class _Layout:
    """One row of a COPY over `names` for readings that have `columns`."""

    dtype: np.dtype[np.void]
    template: NDArray[np.uint8]
    limits: NDArray[np.float64]
    """Largest finite magnitude that each column's type holds."""
    spans: tuple[tuple[int, int], ...]
    """Where the bytes of each value begin and end in the row."""


def copy_columns(readings: Sequence[Reading]) -> tuple[str, ...]:
    """Return every quantity among the readings, in the order of the vocabulary."""
    distinct = {id(reading.columns): reading.columns for reading in readings}
    return tuple(sorted({name for names in distinct.values() for name in names}, key=ORDER.__getitem__))


def copy_stream(readings: Sequence[Reading], names: tuple[str, ...]) -> Iterator[bytes]:
    """Yield the stream for a COPY of the columns KEY_COLUMNS and `names`, in pieces of some 64 KiB or more.

    A value that is NaN, infinite or beyond its column's type becomes NULL and the reading's quality NOT_AVAILABLE.

    Raises:
        BadRow: a reading is not one; `check_reading` says which and why.
    """
    pieces = [HEADER]
    size = 0
    for columns, group in _by_columns(readings).items():
        layout = _layout(names, columns)
        for start in range(0, len(group), CHUNK_ROWS):
            piece = _rows(group[start : start + CHUNK_ROWS], layout)
            pieces.append(piece)
            size += len(piece)
            if size >= CHUNK_BYTES:
                yield b"".join(pieces)
                pieces, size = [], 0
    pieces.append(TRAILER)
    yield b"".join(pieces)


def check_reading(reading: Reading) -> str | None:
    """Return why this reading can never become a row, or None when nothing speaks against it on this side."""
    if not FIRST_TIME_US <= reading.time_us <= LAST_TIME_US:
        return f"time {reading.time_us} us since 1970 is not an instant of the years 1970 to 9999"
    if not 0 < reading.meter_id <= INT32_MAX:
        return f"meter_id {reading.meter_id} is not 1..{INT32_MAX}"
    if not 0 <= reading.quality <= INT16_MAX:
        return f"quality {reading.quality} is not 0..{INT16_MAX}"
    if len(reading.values) != len(reading.columns):
        return f"it has {len(reading.values)} values for {len(reading.columns)} columns"
    for name, value in reading.items():
        if not _is_value(value):
            return f"{name} {value!r} is not a number"
    return None


def is_storable(name: str, value: float) -> bool:
    """Whether a number becomes a value of its column: it is finite, and not beyond what the column's type holds."""
    return abs(value) <= _largest(name)


def _is_value(value: object) -> bool:
    return value is None or isinstance(value, (int, float))


def _by_columns(readings: Sequence[Reading]) -> dict[Columns, list[Reading]]:
    # Equal columns are one object, and its id is many times cheaper to look up than the hash of a tuple of names.
    groups: dict[int, list[Reading]] = {}
    for reading in readings:
        key = id(reading.columns)
        group = groups.get(key)
        if group is None:
            group = groups[key] = []
        group.append(reading)
    merged: dict[Columns, list[Reading]] = {}
    for group in groups.values():
        merged.setdefault(group[0].columns, []).extend(group)
    return merged


@lru_cache(maxsize=1024)
def _layout(names: tuple[str, ...], columns: Columns) -> _Layout:
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    lengths: dict[str, int] = {}
    for name, kind, length in (("time", ">i8", 8), ("meter_id", ">i4", 4), ("quality", ">i2", 2)):
        fields += [(f"length of {name}", ">i4"), (name, kind)]
        lengths[name] = length
    for name in names:
        fields.append((f"length of {name}", ">i4"))
        if name not in columns:
            lengths[name] = -1
            continue
        lengths[name] = 8 if BY_NAME[name].kind is Kind.COUNTER else 4
        fields.append((name, f">f{lengths[name]}"))
    dtype = np.dtype(fields)
    row = np.zeros(1, dtype)
    row["fields"] = len(lengths)
    for name, length in lengths.items():
        row[f"length of {name}"] = length
    places = {name: int(dtype.fields[name][1]) for name in columns} if dtype.fields else {}
    return _Layout(
        dtype=dtype,
        template=row.view(np.uint8),
        limits=np.array([_largest(name) for name in columns]),
        spans=tuple((places[name], places[name] + lengths[name]) for name in columns),
    )


@cache
def _largest(name: str) -> float:
    return float(np.finfo(np.float64 if BY_NAME[name].kind is Kind.COUNTER else np.float32).max)


def _rows(group: Sequence[Reading], layout: _Layout) -> bytes:
    columns = group[0].columns
    try:
        tuples = [reading.values for reading in group]
        if set(map(len, tuples)) != {len(columns)}:
            raise BadRow("a reading does not have one value for each of its columns")
        flat = np.fromiter(chain.from_iterable(tuples), np.float64, len(group) * len(columns))
        values = flat.reshape(len(group), len(columns))
        times = np.array([reading.time_us for reading in group], dtype=np.int64)
        meters = np.array([reading.meter_id for reading in group], dtype=np.int64)
        quality = np.array([reading.quality for reading in group], dtype=np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRow(f"a reading holds something that is not a number: {error}") from error
    if not (
        _within(times, FIRST_TIME_US, LAST_TIME_US) and _within(meters, 1, INT32_MAX) and _within(quality, 0, INT16_MAX)
    ):
        raise BadRow("a reading's time, meter_id or quality is outside what its column can hold")
    usable = np.abs(values) <= layout.limits  # false for NaN, which None has become, and for infinity
    complete = usable.all(axis=1)
    if not complete.all():
        values[~usable] = 0.0  # never written: its bytes are cut out below
        quality |= _flags_of_unusable(group, usable)
    buffer = np.empty((len(group), layout.dtype.itemsize), dtype=np.uint8)
    buffer[:] = layout.template
    rows = buffer.view(layout.dtype)[:, 0]
    rows["time"] = times - POSTGRES_EPOCH_US
    rows["meter_id"] = meters
    rows["quality"] = quality
    for place, name in enumerate(columns):
        rows[name] = values[:, place]
    if complete.all():
        return buffer.tobytes()
    partial = ~complete
    return buffer[complete].tobytes() + _without_missing(buffer[partial], columns, usable[partial], layout)


def _within(array: NDArray[np.int64], low: int, high: int) -> bool:
    return bool(array.min() >= low and array.max() <= high)


def _flags_of_unusable(group: Sequence[Reading], usable: NDArray[np.bool_]) -> NDArray[np.int64]:
    """NOT_AVAILABLE for readings with more unusable values than None: the others are NaN, infinite or too large."""
    flags = np.zeros(len(group), dtype=np.int64)
    missing = (~usable).sum(axis=1)
    for place in np.flatnonzero(missing).tolist():
        if missing[place] != group[place].values.count(None):
            flags[place] = Quality.NOT_AVAILABLE
    return flags


def _without_missing(buffer: NDArray[np.uint8], columns: Columns, usable: NDArray[np.bool_], layout: _Layout) -> bytes:
    rows = buffer.view(layout.dtype)[:, 0]
    keep = np.ones(buffer.shape, dtype=np.bool_)
    for place in np.flatnonzero(~usable.all(axis=0)).tolist():
        start, end = layout.spans[place]
        keep[:, start:end] = usable[:, place, None]
        rows[f"length of {columns[place]}"][~usable[:, place]] = -1
    return buffer[keep].tobytes()
