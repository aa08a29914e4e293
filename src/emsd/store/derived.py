"""Derived readings: whether their minute is accounted, and writing them.

They do not go through the pipeline: that would mark their minutes as dirty, though no energy is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from emsd.quantities import BY_NAME
from emsd.readings import Columns, Reading, to_datetime
from emsd.store.pool import Pool, Session, session

__all__ = ["is_accounted", "write_derived"]

_MARKED: Final = "SELECT EXISTS (SELECT FROM dirty_interval WHERE bucket >= $1 AND bucket < $2)"


async def is_accounted(connection: Session, from_us: int, to_us: int) -> bool:
    """Whether no minute in [from_us, to_us) waits for accounting."""
    return not await connection.fetchval(_MARKED, to_datetime(from_us), to_datetime(to_us))


async def write_derived(pool: Pool, readings: Sequence[Reading]) -> None:
    """Store derived readings in one transaction; one that is there already is replaced. No reading may stand twice.

    Raises:
        StoreUnavailable: the database cannot be reached now; nothing is stored.
    """
    by_columns: dict[Columns, list[Reading]] = {}
    for reading in readings:
        by_columns.setdefault(reading.columns, []).append(reading)
    if not by_columns:
        return
    async with session(pool, "write derived values") as connection, connection.transaction():
        for names, group in by_columns.items():
            await connection.execute(
                _insert(names),
                [to_datetime(each.time_us) for each in group],
                [each.meter_id for each in group],
                [int(each.quality) for each in group],
                *([each.values[place] for each in group] for place in range(len(names))),
            )


def _insert(names: Columns) -> str:
    """The upsert of readings with these columns; names of the vocabulary only."""
    columns: Mapping[str, str] = {name: BY_NAME[name].sql_type for name in names}
    values = ", ".join(f"${place}::{sql_type}[]" for place, sql_type in enumerate(columns.values(), start=4))
    updates = ", ".join(f"{name} = excluded.{name}" for name in ("quality", *columns))
    return (
        f"INSERT INTO reading (time, meter_id, quality, {', '.join(columns)})"  # noqa: S608 - names of the vocabulary
        f" SELECT * FROM unnest($1::timestamptz[], $2::integer[], $3::smallint[], {values})"
        f" ON CONFLICT (meter_id, time) DO UPDATE SET {updates}"
    )
