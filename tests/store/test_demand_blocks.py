"""Demand of several meters together, added up by the database: of their sum, and trusted when every one is covered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from emsd.readings import instant_us
from emsd.store.demand import read_demand_blocks
from emsd.store.pool import Pool, Session, open_pool

BEGIN = datetime(2026, 6, 16, 8, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
ONE, TWO, SUN = 1_000_001, 1_000_002, 1_000_003


async def quarters(pool: Pool, meter_id: int, *values: tuple[float | None, float] | None) -> None:
    """Write energy [kWh] and coverage of successive quarter hours; None is no row."""
    rows = [
        (BEGIN + place * QUARTER, meter_id, each[0], each[1], 900)
        for place, each in enumerate(values)
        if each is not None
    ]
    await pool.executemany(
        "INSERT INTO interval_15m (bucket, meter_id, energy_import_kwh, coverage, sample_count)"
        " VALUES ($1, $2, $3, $4, $5)",
        rows,
    )


async def blocks(
    connection: Session, *meter_ids: int, period_min: int = 15, resting: tuple[int, ...] = ()
) -> tuple[list[float], list[float], int]:
    """Demand [kW] and coverage of the blocks of an hour, and how many of them are trusted."""
    bounds_us = instant_us(BEGIN), instant_us(BEGIN + 4 * QUARTER)
    found = await read_demand_blocks(connection, meter_ids, *bounds_us, period_min=period_min, resting=resting)
    trusted = int(np.isfinite(found.trusted_kw).sum())
    return found.demand_kw.tolist(), found.coverage.tolist(), trusted


async def test_blocks_are_those_of_the_sum_and_only_as_good_as_the_worst_covered_meter(database_url: str) -> None:
    async with open_pool(database_url, max_size=1) as pool:
        # 0.9 is stored in single precision, a little less than it.
        await quarters(pool, ONE, (10.0, 1.0), (20.0, 1.0), (30.0, 1.0), (40.0, 0.9))
        await quarters(pool, TWO, (1.0, 1.0), (2.0, 0.89), None, (4.0, 1.0))
        async with pool.acquire() as connection:
            assert await blocks(connection, ONE, TWO) == ([44, 88, 120, 176], [1.0, 0.89, 0.0, 0.9], 2)
            # The mean of two quarter hours of each: of the second meter 0.945, and 0.5 where it lacks one.
            assert await blocks(connection, ONE, TWO, period_min=30) == ([66, 148], [0.945, 0.5], 1)
            assert await blocks(connection, ONE, TWO, period_min=60) == ([107], [0.7225], 0)
            assert (await blocks(connection, ONE))[2] == 4


async def test_a_meter_that_rests_adds_what_it_draws_and_is_no_hole(database_url: str) -> None:
    async with open_pool(database_url, max_size=1) as pool:
        await quarters(pool, ONE, (10.0, 1.0), (10.0, 1.0), None, (10.0, 0.5))
        await quarters(pool, SUN, (1.0, 1.0), None, (1.0, 0.1), (None, 1.0))
        async with pool.acquire() as connection:
            demand_kw, coverage, trusted = await blocks(connection, ONE, SUN, resting=(SUN,))
            assert demand_kw == [44, 40, 4, 40]
            assert (coverage, trusted) == ([1.0, 1.0, 0.0, 0.5], 2)
            # With nobody beside it, it is a meter like any other.
            alone = await blocks(connection, SUN, resting=(SUN,))
            assert (alone[1], alone[2]) == ([1.0, 0.0, pytest.approx(0.1), 1.0], 1)
            nobody = await blocks(connection)
            assert nobody == ([], [], 0)
