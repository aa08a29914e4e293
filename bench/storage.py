"""Bytes a value on disk for the simulator's readings, against the same values one a row.

The readings are those of the fleet (14 quantities a meter) and of the example plant (meters of eleven kinds, so many
columns of a row are empty), written by our writer. The bare side is the usual narrow hypertable
(meter_id, quantity_id, time, value) with that as its primary key. Everything counts: rows, primary keys, free space.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg

from bench.child import REPOSITORY
from bench.result import Report, Row, compared
from bench.world import Size, World
from emsd.plant.loader import load_plant
from emsd.plant.models import Plant
from emsd.plant.profile import Profile
from emsd.quantities import QUANTITIES
from emsd.readings import instant_us
from emsd.store.plant import sync_plant
from emsd.store.pool import Session, open_pool
from emsd.store.readings import ReadingWriter
from simulator import SimulatedPlant, history
from simulator.fleet import fleet

__all__ = ["run"]

_BEGIN: Final = datetime(2025, 6, 2, tzinfo=UTC)
_SIZES: Final = {
    Size.FULL: (timedelta(minutes=4), timedelta(hours=24)),
    Size.QUICK: (timedelta(minutes=1), timedelta(hours=6)),
    Size.SMOKE: (timedelta(seconds=2), timedelta(minutes=5)),
}
"""How long the fleet of 1,000 meters speaks once a second, and the example plant's meters every 5 s."""

_NARROW: Final = """
CREATE TABLE narrow (meter_id integer, quantity_id smallint, time timestamptz, value double precision,
                     PRIMARY KEY (meter_id, quantity_id, time));
SELECT create_hypertable('narrow', 'time', chunk_time_interval => INTERVAL '1 day', create_default_indexes => false);
"""


async def run(world: World) -> Report:
    """Write both plants, each into a database of its own."""
    fleet_for, example_for = _SIZES[world.size]
    example = load_plant(REPOSITORY / "config" / "plant.example.yaml", environ=os.environ)
    return Report(
        [
            await _size(world, "the fleet", *fleet(1000, 10), 1.0, fleet_for),
            await _size(world, "the example plant", example.plant, example.profiles, 5.0, example_for),
        ]
    )


async def _size(
    world: World, name: str, plant: Plant, profiles: Mapping[str, Profile], step_s: float, length: timedelta
) -> Row:
    world.say("storage", f"writing readings of {name}")
    async with world.database() as url, open_pool(url, command_timeout_s=600) as pool:
        meter_ids = await sync_plant(pool, plant, profiles)
        truth = SimulatedPlant(plant, profiles, 1, anchor=_BEGIN)
        async with ReadingWriter(pool) as writer:
            for batch in history(truth, meter_ids, instant_us(_BEGIN), instant_us(_BEGIN + length), step_s):
                # A service writes in the order of time.
                await writer.write(sorted(batch, key=lambda reading: reading.time_us))
        async with pool.acquire() as connection:
            values = await _values(connection)
            world.say("storage", f"writing {sum(values.values()):,} values of {name} one a row")
            await _write_narrow(connection, [quantity for quantity, count in values.items() if count])
            wide, narrow = [await _bytes(connection, table) for table in ("reading", "narrow")]
    count = sum(values.values())
    return compared(
        "storage", f"{name}, {count:,} values", "bytes/value", [(wide / count, narrow / count)], less_is_faster=True
    )


async def _values(connection: Session) -> dict[str, int]:
    """Return how many values of each quantity there are."""
    counted = ", ".join(f"count({each.name}) AS {each.name}" for each in QUANTITIES)
    row: asyncpg.Record | None = await connection.fetchrow(f"SELECT {counted} FROM reading")
    assert row is not None
    return dict(row)


async def _write_narrow(connection: Session, names: list[str]) -> None:
    await connection.execute(_NARROW)
    listed = ", ".join(f"({number}, reading.{name}::float8)" for number, name in enumerate(names))
    await connection.execute(
        f"INSERT INTO narrow SELECT meter_id, n, time, value FROM reading CROSS JOIN LATERAL (VALUES {listed})"
        " AS each (n, value) WHERE value IS NOT NULL ORDER BY time, meter_id",
        timeout=600,
    )


async def _bytes(connection: Session, table: str) -> int:
    size: int = await connection.fetchval("SELECT hypertable_size($1::text::regclass)", table)
    return size
