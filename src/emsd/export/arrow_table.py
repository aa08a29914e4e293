"""Parquet and Arrow IPC streams by pyarrow, which is an extra: this module is imported when one is asked for."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from emsd import __version__
from emsd.export.schema import Batch, Column, ColumnKind, TableSchema

__all__ = ["ArrowEncoder", "ParquetEncoder", "arrow_schema"]

_GROUP_CELLS: Final = 1_000_000
"""A row group of Parquet is held in memory until it is full; this many cells are 8 MB."""
_LEAST_GROUP_ROWS: Final = 8_192
_MOST_GROUP_ROWS: Final = 131_072

_INSTANT: Final = pa.timestamp("us", tz="UTC")
_TYPES: Final = {
    ColumnKind.INSTANT: _INSTANT,
    ColumnKind.SECOND: _INSTANT,
    ColumnKind.DAY: pa.date32(),
    ColumnKind.KEY: pa.dictionary(pa.int32(), pa.string()),
    ColumnKind.TEXT: pa.string(),
    ColumnKind.REAL: pa.float32(),
    ColumnKind.DOUBLE: pa.float64(),
    ColumnKind.INTEGER: pa.int64(),
}


def arrow_schema(schema: TableSchema) -> pa.Schema:
    """Return the schema with unit and title as metadata of each field, the facts as metadata of the table.

    Keys of the metadata begin with "emsd." so that they are told from those of other writers.
    """
    facts = {"table": schema.name, "software": f"emsd {__version__}", **schema.facts}
    return pa.schema(
        [_field(column) for column in schema.columns], {f"emsd.{name}": fact for name, fact in facts.items()}
    )


def _field(column: Column) -> pa.Field:
    words = {"emsd.unit": column.unit, "emsd.title": column.title}
    return pa.field(column.name, _TYPES[column.kind], metadata={name: word for name, word in words.items() if word})


class ArrowEncoder:
    """Writes a table as an Arrow IPC stream: one record batch for each batch of rows."""

    def __init__(self, schema: TableSchema) -> None:
        self._rows = _RowPacker(schema)
        self._bytes = _Bytes()
        self._writer = pyarrow.ipc.new_stream(self._bytes, self._rows.schema)

    async def add(self, rows: Batch) -> bytes:
        """Return the next bytes of the stream."""
        if rows:
            self._writer.write_batch(self._rows.pack(rows))
        return self._bytes.taken()

    async def finish(self) -> bytes:
        """Return the last bytes of the stream."""
        self._writer.close()
        return self._bytes.taken()


class ParquetEncoder:
    """Writes a table as Parquet, compressed with zstd; a row group is packed in a thread, outside the interpreter."""

    def __init__(self, schema: TableSchema) -> None:
        self._rows = _RowPacker(schema)
        self._bytes = _Bytes()
        self._group: list[pa.RecordBatch] = []
        self._group_rows = 0
        self._full_rows = min(_MOST_GROUP_ROWS, max(_LEAST_GROUP_ROWS, _GROUP_CELLS // len(schema.columns)))
        self._writer = pyarrow.parquet.ParquetWriter(
            self._bytes,
            self._rows.schema,
            compression="zstd",
            use_dictionary=[column.name for column in schema.columns if column.kind in _REPEATING],
        )

    async def add(self, rows: Batch) -> bytes:
        """Return the next bytes of the file; none until a row group is full."""
        if rows:
            self._group.append(self._rows.pack(rows))
            self._group_rows += len(rows)
        if self._group_rows >= self._full_rows:
            await self._write_group()
        return self._bytes.taken()

    async def finish(self) -> bytes:
        """Return the last bytes of the file."""
        if self._group:
            await self._write_group()
        self._writer.close()
        return self._bytes.taken()

    async def _write_group(self) -> None:
        table = pa.Table.from_batches(self._group)
        self._group, self._group_rows = [], 0
        await asyncio.to_thread(self._writer.write_table, table, row_group_size=len(table))


_REPEATING: Final = frozenset({ColumnKind.KEY, ColumnKind.TEXT, ColumnKind.INTEGER, ColumnKind.DAY})
"""Kinds whose values come again and again; for measured floats a dictionary only costs."""


class _RowPacker:
    """From rows to record batches. The choices of a key are one array, which a stream then carries once."""

    def __init__(self, schema: TableSchema) -> None:
        self.schema = arrow_schema(schema)
        self._columns = schema.columns
        self._choices = [pa.array(column.choices, pa.string()) for column in schema.columns]
        self._numbers = [{text: number for number, text in enumerate(each.choices)} for each in schema.columns]

    def pack(self, rows: Batch) -> pa.RecordBatch:
        """Return at least one row as a record batch; raises KeyError when a key is none of its choices."""
        cells = zip(*rows, strict=True)
        arrays = [self._array(place, column) for place, column in enumerate(cells)]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _array(self, place: int, cells: Sequence[Any]) -> pa.Array:
        kind = self._columns[place].kind
        if kind is ColumnKind.KEY:
            numbers = self._numbers[place]
            found = pa.array([None if cell is None else numbers[cell] for cell in cells], pa.int32())
            return pa.DictionaryArray.from_arrays(found, self._choices[place])
        # from_pandas: a NaN is NULL.
        return pa.array(cells, _TYPES[kind], from_pandas=kind in {ColumnKind.REAL, ColumnKind.DOUBLE})


class _Bytes(io.RawIOBase):
    """What pyarrow writes to; it counts the position of the file itself."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def taken(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken
