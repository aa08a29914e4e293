"""Tariff minutes, cost and settlement periods of 2026 in zones that change their clocks and in one that does not.

Every figure was worked out by hand. A dip from 01:30 to 02:30 lies across both changes: in Berlin the clock goes from
02:00 to 03:00 and from 03:00 back to 02:00, in New York from 02:00 to 03:00 and from 02:00 back to 01:00. A normal day
has 420 minutes of valley, 60 of dip and 960 of day; with 1 kWh a quarter hour it costs 2.80 + 0.20 + 12.80.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from emsd.energy.demand_forecast import block_begin_us
from emsd.energy.local_windows import local_windows
from emsd.energy.series import BUCKET_1M_US, BUCKET_15M_US
from emsd.energy.windows import local_day_bounds
from emsd.readings import instant_us
from emsd.store.cost import read_costs
from emsd.store.demand import read_demand_blocks, read_demand_sliding
from emsd.store.plant_view import read_plant_view
from emsd.store.pool import open_pool
from emsd.store.reads import snapshot
from emsd.store.scopes import ScopeMeters
from emsd.store.tariff import read_prices
from tests.store.test_tariff import OLD, plant, sync

METER = 1_000_001
NORMAL = ({"valley": 420, "dip": 60, "day": 960}, 15.8, 96)
SHORT = ({"valley": 390, "dip": 30, "day": 960}, 15.5, 92)
LONG = ({"valley": 450, "dip": 90, "day": 960}, 16.1, 100)
TARIFF: dict[str, Any] = OLD | {
    "rates": [
        {
            "periods": [
                {"name": "valley", "hours": ["02:30-07:00", "23:00-01:30"], "price_per_kwh": 0.1},
                {"name": "dip", "hours": ["01:30-02:30"], "price_per_kwh": 0.05},
                {"name": "day", "hours": ["07:00-23:00"], "price_per_kwh": 0.2},
            ]
        }
    ]
}


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        ("Europe/Berlin", {"2026-03-28": NORMAL, "2026-03-29": SHORT, "2026-10-25": LONG, "2026-10-26": NORMAL}),
        ("America/New_York", {"2026-03-08": SHORT, "2026-03-29": NORMAL, "2026-11-01": LONG}),
        ("Asia/Taipei", {"2026-03-29": NORMAL, "2026-10-25": NORMAL}),
    ],
)
async def test_minutes_cost_and_settlement_periods_of_the_days_of_a_changed_clock(
    database_url: str, zone: str, days: dict[str, tuple[dict[str, int], float, int]]
) -> None:
    described = plant(TARIFF, time_zone=zone)
    begin, end = (local_day_bounds(date(year, 1, 1), described.site.zone)[0] for year in (2026, 2027))
    meters = ScopeMeters((METER,), ())
    async with open_pool(database_url, max_size=1) as pool:
        async with pool.acquire() as connection:
            await sync(connection, described)
        await pool.execute(
            "INSERT INTO interval_15m (bucket, meter_id, energy_import_kwh, coverage, sample_count)"
            " SELECT bucket, $1, 1, 1, 900"
            " FROM generate_series($2::timestamptz, $3::timestamptz - interval '15 minutes', '15 minutes') AS bucket",
            METER,
            begin,
            end,
        )
        view = await read_plant_view(pool, 1)
        async with snapshot(pool, "read the days") as connection:
            (year,) = await read_costs(
                connection, view, meters, "grid_import", local_windows(begin, end, "total", view.zone)
            )
            # Two days of a changed clock make up for each other: 363 x 15.8 + 15.5 + 16.1.
            assert year.cost.cost == pytest.approx(5767)
            assert year.cost.drawn_kwh == 365 * 96
            for day, (minutes, cost, quarters) in days.items():
                first, last = local_day_bounds(date.fromisoformat(day), view.zone)
                curve = await read_prices(connection, 1, first, last)
                places = curve.places(np.arange(instant_us(first), instant_us(last), BUCKET_1M_US, dtype=np.int64))
                counted = np.bincount(curve.period[places], minlength=len(curve.names)).tolist()
                assert dict(zip(curve.names, counted, strict=True)) == minutes, day
                (found,) = await read_costs(
                    connection, view, meters, "grid_import", local_windows(first, last, "day", view.zone)
                )
                assert {each.period: each.energy_kwh for each in found.cost.periods} == {
                    name: count / 15 for name, count in minutes.items()
                }, day
                assert found.cost.cost == pytest.approx(cost), day
                assert found.cost.coverage == 1.0, day
                blocks = await read_demand_blocks(
                    connection, [METER], instant_us(first), instant_us(last), period_min=15
                )
                assert blocks.begin_us.size == quarters, day
                assert blocks.demand_kw.tolist() == [4.0] * quarters, day


async def test_the_highest_demand_of_the_hour_that_comes_twice_is_told_by_its_instant(database_url: str) -> None:
    """02:30 in Berlin on 25 October is 00:30 and 01:30 UTC; the second is the higher one."""
    midnight = datetime(2026, 10, 24, 22, tzinfo=UTC)
    async with open_pool(database_url, max_size=1) as pool:
        await pool.execute(
            "INSERT INTO interval_15m (bucket, meter_id, energy_import_kwh, coverage, sample_count)"
            " SELECT bucket, $1, CASE bucket WHEN $2::timestamptz + interval '150 minutes' THEN 8"
            " WHEN $2 + interval '210 minutes' THEN 9 ELSE 1 END, 1, 900"
            " FROM generate_series($2::timestamptz, $2 + interval '24 hours 45 minutes', '15 minutes') AS bucket",
            METER,
            midnight,
        )
        async with pool.acquire() as connection:
            for period_min, demand_kw, at in ((15, 36, 210), (30, (9 + 1) * 2, 210), (60, 9 + 3, 180)):
                blocks = await read_demand_blocks(
                    connection,
                    [METER],
                    instant_us(midnight),
                    instant_us(midnight + timedelta(hours=25)),
                    period_min=period_min,
                )
                assert blocks.begin_us.size == 1500 // period_min
                highest = blocks.highest(int(blocks.begin_us[0]), int(blocks.begin_us[-1]))
                assert highest is not None
                assert highest.demand_kw == pytest.approx(demand_kw)
                assert highest.from_us == instant_us(midnight + timedelta(minutes=at))
            nothing = await read_demand_sliding(connection, [METER], 0, 60 * BUCKET_1M_US, period_min=15)
            assert nothing.begin_us.size == 46
            assert np.isnan(nothing.demand_kw).all()


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Taipei", "Asia/Kathmandu"])
def test_every_quarter_hour_of_a_day_begins_one_settlement_period(zone: str) -> None:
    local = plant(time_zone=zone).site.zone
    for day in (date(2026, 3, 8), date(2026, 3, 29), date(2026, 10, 25), date(2026, 11, 1)):
        first, last = (instant_us(each) for each in local_day_bounds(day, local))
        begins = {block_begin_us(each, BUCKET_15M_US, local) for each in range(first, last, BUCKET_1M_US)}
        assert sorted(begins) == list(range(first, last, BUCKET_15M_US)), day
