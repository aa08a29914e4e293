"""Compression of old chunks where TimescaleDB's edition has it; the Apache edition does without.

Compressed rows of a meter lie together in the order of time. Late readings still go in, at a higher price, so
compression begins after the time in which data is usually late.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from emsd.store.pool import Session

__all__ = ["COMPRESS_AFTER", "compression_statements", "ensure_compression"]

COMPRESS_AFTER: Final = timedelta(days=14)
_ORDER: Final = {
    "reading": "time",
    "interval_1m": "bucket",
    "interval_15m": "bucket",
    "gauge_15m": "bucket",
    "asset_15m": "bucket",
}
_SEGMENT: Final = {"gauge_15m": "meter_id, quantity_id", "asset_15m": "asset_id"}
_AFTER_CHUNKS: Final = dict.fromkeys(("interval_15m", "gauge_15m", "asset_15m"), timedelta(days=60))
"""Tables whose chunks are longer than COMPRESS_AFTER: a chunk is compressed when it is as old as a whole."""


def compression_statements(compressed: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield what gives every hypertable that is not in `compressed` yet its compression and the policy for it."""
    for table, order in _ORDER.items():
        if table in compressed:
            continue
        segment = _SEGMENT.get(table, "meter_id")
        after = _AFTER_CHUNKS.get(table, COMPRESS_AFTER)
        yield (
            f"ALTER TABLE {table} SET (timescaledb.compress, timescaledb.compress_segmentby = '{segment}',"
            f" timescaledb.compress_orderby = '{order}')"
        )
        yield f"SELECT add_compression_policy('{table}', INTERVAL '{after.days} days', if_not_exists => true)"


async def ensure_compression(connection: Session) -> list[str]:
    """Have old chunks compressed where the edition can; return the statements that were run, none where it cannot."""
    if await connection.fetchval("SELECT current_setting('timescaledb.license', true)") != "timescale":
        return []
    rows = await connection.fetch(
        "SELECT hypertable_name FROM timescaledb_information.hypertables"
        " WHERE hypertable_schema = current_schema AND compression_enabled"
    )
    statements = list(compression_statements(frozenset(row["hypertable_name"] for row in rows)))
    for statement in statements:
        await connection.execute(statement)
    return statements
