"""CSV as RFC 4180 has it: UTF-8, one header, CRLF, quotes only where needed; an empty cell is NULL."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from typing import Any, Final, TypeAlias

import numpy as np
import orjson

from emsd.export.schema import Batch, ColumnKind, TableSchema

__all__ = ["CsvEncoder"]

_Shown: TypeAlias = Callable[[Sequence[Any]], Iterable[Any]]
"""From the cells of a column to what is written."""


class CsvEncoder:
    """Writes a table as CSV.

    Instants are ISO 8601 with their offset, all of a column of equal length, because readers guess a column's format
    from its first lines. Floats are the shortest decimals that read back as the same number: 412.3 for a REAL, not
    412.29998779296875.
    """

    def __init__(self, schema: TableSchema) -> None:
        self._text = StringIO(newline="")
        self._writer = csv.writer(self._text)  # the standard library's default dialect is RFC 4180's
        self._shown = [_SHOWN.get(column.kind) for column in schema.columns]
        self._writer.writerow([column.name for column in schema.columns])

    async def add(self, rows: Batch) -> bytes:
        """Return the next bytes of the file."""
        if rows:
            columns = [
                cells if shown is None else shown(cells)
                for shown, cells in zip(self._shown, zip(*rows, strict=True), strict=True)
            ]
            self._writer.writerows(zip(*columns, strict=True))
        return self._taken()

    async def finish(self) -> bytes:
        """Return the last bytes of the file."""
        return self._taken()

    def _taken(self) -> bytes:
        taken = self._text.getvalue().encode()
        self._text.seek(0)
        self._text.truncate()
        return taken


def _instants(timespec: str) -> _Shown:
    def shown(cells: Sequence[Any]) -> Iterable[Any]:
        return [None if cell is None else cell.isoformat(timespec=timespec) for cell in cells]

    return shown


def _decimals(dtype: type[np.floating[Any]]) -> _Shown:
    # orjson writes the shortest decimals of a whole array at once, in a twentieth of the time of a str() for each.
    def shown(cells: Sequence[Any]) -> Iterable[Any]:
        text = orjson.dumps(np.array(cells, dtype=dtype), option=orjson.OPT_SERIALIZE_NUMPY).decode()
        return text[1:-1].replace("null", "").split(",")

    return shown


_SHOWN: Final[dict[ColumnKind, _Shown]] = {
    ColumnKind.INSTANT: _instants("microseconds"),
    ColumnKind.SECOND: _instants("seconds"),
    ColumnKind.REAL: _decimals(np.float32),
    ColumnKind.DOUBLE: _decimals(np.float64),
}
