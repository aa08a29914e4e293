"""One way for every table to become bytes: `encode`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from importlib import import_module
from typing import Any, Final, Protocol

from emsd.errors import FormatUnavailable
from emsd.export.csv_table import CsvEncoder
from emsd.export.schema import Batch, Row, TableFormat, TableSchema

__all__ = ["Encoder", "encode", "in_batches", "open_encoder", "require", "rows_at_once"]

_CELLS_AT_ONCE: Final = 5_000
"""A few milliseconds of work, in which nothing else of the process runs."""


class Encoder(Protocol):
    """Writes one table; what it returns, one after the other, is the file."""

    async def add(self, rows: Batch) -> bytes:
        """Take the next rows, and return the bytes that are ready, maybe none."""
        ...

    async def finish(self) -> bytes:
        """Return the bytes that are left."""
        ...


def require(table_format: TableFormat) -> None:
    """Return when this installation can write the format.

    Raises:
        FormatUnavailable: Parquet or Arrow is asked for, and pyarrow is not installed.
    """
    if table_format is not TableFormat.CSV:
        _arrow_table(table_format)


def open_encoder(table_format: TableFormat, schema: TableSchema) -> Encoder:
    """Return an encoder for one table.

    Raises:
        FormatUnavailable: as `require`.
    """
    if table_format is TableFormat.CSV:
        return CsvEncoder(schema)
    module = _arrow_table(table_format)
    encoder: Encoder = (module.ParquetEncoder if table_format is TableFormat.PARQUET else module.ArrowEncoder)(schema)
    return encoder


def _arrow_table(table_format: TableFormat) -> Any:
    try:
        return import_module("emsd.export.arrow_table")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pyarrow":
            raise
        raise FormatUnavailable(
            f"{table_format} needs pyarrow, which is not installed here: "
            "pip install 'emsd[export]', or ask for csv, which needs nothing"
        ) from error


async def encode(
    table_format: TableFormat, schema: TableSchema, batches: AsyncIterable[Batch]
) -> AsyncGenerator[bytes]:
    """Yield a table as the bytes of its file, holding one batch of rows (Parquet: one row group) at a time.

    Between two batches the event loop runs. Close the iterator with `contextlib.aclosing` when it may not be read to
    its end: what was yielded until then is no whole file.

    Raises:
        FormatUnavailable: at the first step; as `require`.
    """
    encoder = open_encoder(table_format, schema)
    async for rows in batches:
        if ready := await encoder.add(rows):
            yield ready
        await asyncio.sleep(0)
    if ready := await encoder.finish():
        yield ready


def rows_at_once(schema: TableSchema) -> int:
    """Return how many rows of a table make a batch that holds nobody up."""
    return max(50, _CELLS_AT_ONCE // len(schema.columns))


async def in_batches(schema: TableSchema, rows: Sequence[Row]) -> AsyncGenerator[Batch]:
    """Yield rows that are in memory already as batches, for `encode`."""
    step = rows_at_once(schema)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
