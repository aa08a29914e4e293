"""Tables as CSV, Parquet and Arrow, streamed with bounded memory.

    schema = TableSchema("cost", (Column("time", ColumnKind.SECOND), Column("cost_eur", ColumnKind.DOUBLE, "EUR")))
    async for piece in encode(TableFormat.CSV, schema, in_batches(schema, rows)):
        ...

CSV needs nothing; Parquet and Arrow need the extra `emsd[export]`.
"""

from __future__ import annotations

from emsd.export.encoding import Encoder, encode, in_batches, open_encoder, require, rows_at_once
from emsd.export.schema import Batch, Cell, Column, ColumnKind, Row, TableFormat, TableSchema

__all__ = [
    "Batch",
    "Cell",
    "Column",
    "ColumnKind",
    "Encoder",
    "Row",
    "TableFormat",
    "TableSchema",
    "encode",
    "in_batches",
    "open_encoder",
    "require",
    "rows_at_once",
]
