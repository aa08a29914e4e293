"""Columns of numpy as the byte stream that COPY ... FROM STDIN (FORMAT binary) takes; what is missing becomes NULL.

A row on the wire is the number of fields (int16) and for each its length (int32, -1 for NULL) and its bytes, all
big-endian (PostgreSQL documentation, "COPY", section Binary Format). All rows are one structured array; the bytes of
missing values are cut out of it at the end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from emsd.store.copy_format import HEADER, POSTGRES_EPOCH_US, TRAILER
from emsd.store.pool import Session

__all__ = ["Kind", "copy_columns", "encoded"]

Kind: TypeAlias = Literal["int2", "int4", "int8", "float4", "float8", "timestamptz"]
"""Type of a column. A timestamptz comes as microseconds since 1970; NaN in a float is NULL."""

_TYPES: Final[Mapping[Kind, str]] = {
    "int2": ">i2",
    "int4": ">i4",
    "int8": ">i8",
    "float4": ">f4",
    "float8": ">f8",
    "timestamptz": ">i8",
}
_ROWS_PER_PIECE: Final = 20_000
_TIMEOUT_S: Final = 120.0


async def copy_columns(
    connection: Session, table: str, kinds: Mapping[str, Kind], columns: Mapping[str, NDArray[Any]]
) -> int:
    """Copy rows into a table, column by column in arrays of one length; return how many."""
    rows = next(iter(columns.values())).size
    if rows:
        await connection.copy_to_table(
            table, source=_pieces(kinds, columns, rows), format="binary", columns=list(kinds), timeout=_TIMEOUT_S
        )
    return rows


async def _pieces(kinds: Mapping[str, Kind], columns: Mapping[str, NDArray[Any]], rows: int) -> AsyncIterator[bytes]:
    yield HEADER
    for begin in range(0, rows, _ROWS_PER_PIECE):
        yield encoded(kinds, {name: columns[name][begin : begin + _ROWS_PER_PIECE] for name in kinds})
    yield TRAILER


def _field(layout: np.dtype[np.void], name: str) -> tuple[np.dtype[Any], int]:
    found = dict(layout.fields or {})[name]
    return found[0], found[1]


def encoded(kinds: Mapping[str, Kind], columns: Mapping[str, NDArray[Any]]) -> bytes:
    """Return rows as they travel, without the stream's header and trailer."""
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for name, kind in kinds.items():
        fields += [(f"length of {name}", ">i4"), (name, _TYPES[kind])]
    layout = np.dtype(fields)
    rows = np.zeros(next(iter(columns.values())).size, layout)
    rows["fields"] = len(kinds)
    keep = np.ones((rows.size, layout.itemsize), dtype=np.bool_)
    for name, kind in kinds.items():
        values, (place_type, place) = columns[name], _field(layout, name)
        rows[f"length of {name}"] = place_type.itemsize
        if kind == "timestamptz":
            values = values - POSTGRES_EPOCH_US
        if not kind.startswith("float"):
            rows[name] = values
            continue
        missing = ~np.isfinite(values)
        rows[name] = np.where(missing, 0.0, values)
        rows[f"length of {name}"][missing] = -1
        keep[missing, place : place + place_type.itemsize] = False
    whole = rows.view(np.uint8).reshape(rows.size, layout.itemsize)
    return whole.tobytes() if keep.all() else whole[keep].tobytes()
