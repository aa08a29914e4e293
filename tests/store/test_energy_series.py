"""Energy as series: every bucket has its place, and what is not known is NaN."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from emsd.energy import BUCKET_15M_US, bucket_edges, datetime_to_us, local_day_edges
from emsd.store.energy_series import read_energy
from emsd.store.pool import open_pool
from emsd.store.reads import snapshot

START = datetime(2026, 3, 28, 23, tzinfo=UTC)  # midnight in Berlin; the 29th has 23 hours
_INSERT = """INSERT INTO interval_15m (meter_id, bucket, energy_import_kwh, energy_export_kwh, estimated_import_kwh,
    coverage, sample_count) VALUES ($1, $2, $3, $4, $5, $6, 900)"""


async def test_a_bucket_without_a_row_is_unknown_and_one_of_a_single_direction_nets_it(database_url: str) -> None:
    edges_us = bucket_edges(datetime_to_us(START), datetime_to_us(START) + 4 * BUCKET_15M_US, BUCKET_15M_US)
    async with open_pool(database_url) as pool:
        quarter = timedelta(minutes=15)
        for row in (
            (1, START, 10.0, None, 0.0, 1.0),
            (1, START + 2 * quarter, 12.0, 5.0, 3.0, 0.5),
            (1, START + 4 * quarter, 99.0, None, 0.0, 1.0),  # after the last edge
            (2, START + quarter, None, None, 0.0, 0.0),
        ):
            await pool.execute(_INSERT, *row)
        async with snapshot(pool, "test") as connection:
            found = await read_energy(connection, [1, 2, 3], "15m", edges_us)
    assert list(found) == [1, 2, 3]
    np.testing.assert_array_equal(found[1].import_kwh, [10.0, np.nan, 12.0, np.nan])
    np.testing.assert_array_equal(found[1].net_kwh, [10.0, np.nan, 7.0, np.nan])
    np.testing.assert_array_equal(found[1].estimated_import_kwh, [0.0, 0.0, 3.0, 0.0])
    np.testing.assert_array_equal(found[1].coverage, [1.0, 0.0, 0.5, 0.0])
    assert np.isnan(found[2].import_kwh).all()
    assert np.isnan(found[3].net_kwh).all()


async def test_days_are_found_at_local_midnight(database_url: str) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    edges_us = local_day_edges(date(2026, 3, 28), date(2026, 3, 31), berlin)
    assert ((edges_us[1:] - edges_us[:-1]) / 3_600_000_000).tolist() == [24.0, 23.0, 24.0]
    async with open_pool(database_url) as pool:
        await pool.execute(
            "INSERT INTO interval_1d (meter_id, day, bucket, energy_import_kwh, coverage, sample_count)"
            " VALUES (1, '2026-03-29', $1, 23.0, 1.0, 82800)",
            START,
        )
        async with snapshot(pool, "test") as connection:
            found = await read_energy(connection, [1], "1d", edges_us)
    np.testing.assert_array_equal(found[1].import_kwh, [np.nan, 23.0, np.nan])
