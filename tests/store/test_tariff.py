"""Prices mirrored from the plant: exact on the time axis, written only when they have changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from emsd.energy.bill import ExcessBand
from emsd.plant.models import Plant
from emsd.store.contract_demand import read_contract_demands, read_period_min
from emsd.store.pool import Session, open_pool
from emsd.store.tariff import (
    extend_tariffs,
    read_prices,
    read_tariffs,
    sync_tariffs,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OLD: dict[str, Any] = {
    "key": "old",
    "name": "Old",
    "valid_from": "2026-01-01",
    "currency": "EUR",
    "feed_in_per_kwh": 0.08,
    "levy_per_kwh": 0.02,
    "tax_percent": 19,
    "demand_charge": {"basis": "maximum_demand", "price_per_month": 9.5},
    "power_factor": {"standard": 0.9},
    "rates": [
        {
            "periods": [
                {"name": "peak", "hours": ["08:00-20:00"], "price_per_kwh": 0.3},
                {"name": "night", "hours": ["20:00-08:00"], "price_per_kwh": 0.1},
            ]
        }
    ],
}
NEW: dict[str, Any] = {
    "key": "new",
    "name": "New",
    "valid_from": "2026-07-01",
    "currency": "EUR",
    "rates": [{"periods": [{"name": "flat", "hours": ["00:00-24:00"], "price_per_kwh": 0.2}]}],
}


def plant(*tariffs: dict[str, Any], **site: Any) -> Plant:
    return Plant.model_validate(
        {
            "site": {"name": "Works", "time_zone": "Europe/Berlin", "carbon_region": "DE"} | site,
            "tariffs": list(tariffs),
            "areas": [{"key": "hall", "name": "Hall"}],
            "assets": [{"key": "supply", "name": "Supply", "kind": "incomer", "area": "hall"}],
            "connections": [{"key": "bus", "host": "127.0.0.1"}],
        }
    )


async def sync(connection: Session, described: Plant, now: datetime = NOW) -> None:
    await connection.execute(
        "INSERT INTO site (site_id, name, time_zone, carbon_region) VALUES (1, 'Works', $1, 'DE')"
        " ON CONFLICT DO NOTHING",
        described.site.time_zone,
    )
    async with connection.transaction():
        await sync_tariffs(connection, described, now=now)


async def test_prices_lie_on_the_time_axis_and_versions_follow_each_other(database_url: str) -> None:
    async with open_pool(database_url, max_size=1) as pool, pool.acquire() as connection:
        await sync(connection, plant(OLD, NEW))
        # The night before the change, which the new version cuts at midnight of the site.
        begin, end = datetime(2026, 6, 30, 12, tzinfo=UTC), datetime(2026, 7, 1, 12, tzinfo=UTC)
        curve = await read_prices(connection, 1, begin, end)
        named = [curve.names[place] for place in curve.period.tolist()]
        assert named == ["peak", "night", "flat"]
        assert curve.price_per_kwh.tolist() == [0.3, 0.1, 0.2]
        assert curve.levy_per_kwh.tolist() == [0.02, 0.02, 0.0]
        assert curve.feed_in_per_kwh[:2].tolist() == [0.08, 0.08]
        assert np.isnan(curve.feed_in_per_kwh[2])
        change = datetime(2026, 6, 30, 22, tzinfo=UTC)
        assert curve.to_us[1] == curve.from_us[2] == int(change.timestamp() * 1e6)
        assert await connection.fetchval("SELECT max(to_time) FROM tariff_price") == datetime(
            2028, 12, 31, 23, tzinfo=UTC
        )
        gaps = "SELECT count(*) FROM tariff_price a JOIN tariff_price b ON b.from_time = a.to_time"
        assert await connection.fetchval(gaps) == await connection.fetchval("SELECT count(*) - 1 FROM tariff_price")
        old, new = await read_tariffs(connection, 1)
        assert (old.key, old.valid_to, new.valid_from, new.valid_to) == ("old", change, change, None)
        assert (old.terms.demand_basis, old.terms.demand_price_per_month, old.terms.tax_percent) == (
            "maximum_demand",
            9.5,
            19,
        )
        assert old.terms.power_factor_percent is not None
        assert old.terms.power_factor_percent[85] == 2.5
        assert new.terms.power_factor_percent is None
        assert old.is_valid_at(change - timedelta(microseconds=1))
        assert new.is_valid_at(change)


@pytest.mark.parametrize(
    ("day", "minutes"),
    [("2026-03-29", {"night": 660, "peak": 720}), ("2026-10-25", {"night": 780, "peak": 720})],
)
async def test_a_join_finds_exactly_the_minutes_of_each_period(
    database_url: str, day: str, minutes: dict[str, int]
) -> None:
    """As the dashboards join: each minute of the local day with the price that holds when it begins."""
    async with open_pool(database_url, max_size=1) as pool, pool.acquire() as connection:
        await sync(connection, plant(OLD))
        rows = await connection.fetch(
            """SELECT period, count(*) AS minutes FROM generate_series($1::timestamp AT TIME ZONE 'Europe/Berlin',
                ($1::timestamp + interval '1 day') AT TIME ZONE 'Europe/Berlin' - interval '1 minute',
                '1 minute') AS bucket
            JOIN tariff_price ON from_time <= bucket AND to_time > bucket GROUP BY period""",
            datetime.fromisoformat(day),
        )
        assert {row["period"]: row["minutes"] for row in rows} == minutes


async def test_prices_are_written_again_only_when_the_plant_says_something_else(database_url: str) -> None:
    async with open_pool(database_url, max_size=1) as pool, pool.acquire() as connection:
        written = "SELECT written_at FROM tariff_mirror WHERE site_id = 1"
        await sync(connection, plant(OLD))
        first = await connection.fetchval(written)
        await sync(connection, plant(OLD))
        assert await connection.fetchval(written) == first
        dearer = OLD | {"levy_per_kwh": 0.03}
        await sync(connection, plant(dearer))
        second = await connection.fetchval(written)
        assert second > first
        assert await connection.fetchval("SELECT DISTINCT levy_per_kwh FROM tariff_price") == 0.03
        # A year later they reach a year further.
        await sync(connection, plant(dearer), now=NOW + timedelta(days=365))
        assert await connection.fetchval("SELECT max(to_time) FROM tariff_price") == datetime(
            2029, 12, 31, 23, tzinfo=UTC
        )
        await sync(connection, plant())
        assert await connection.fetchval("SELECT count(*) FROM tariff_price") == 0
        assert await read_tariffs(connection, 1) == []
        curve = await read_prices(connection, 1, NOW, NOW + timedelta(days=1))
        assert curve.from_us.size == 0
        assert curve.names == ()


async def test_what_was_agreed_is_known_with_the_day_from_which_it_holds(database_url: str) -> None:
    async with open_pool(database_url, max_size=1) as pool, pool.acquire() as connection:
        changes = [{"valid_from": "2026-07-01", "contract_demand_kw": 5000}]
        await sync(
            connection, plant(contract_demand_kw=4000, contract_demand_changes=changes, demand_period_minutes=30)
        )
        first, second = await read_contract_demands(connection, 1)
        assert (first.valid_from, first.contract_demand_kw) == (None, 4000)
        assert (second.valid_from, second.contract_demand_kw) == (datetime(2026, 6, 30, 22, tzinfo=UTC), 5000)
        assert await read_period_min(connection, 1) == 30
        agreed_now = "SELECT contract_demand_kw FROM site"
        assert await connection.fetchval(agreed_now) == 4000  # it is June
        await sync(connection, plant())
        assert await read_contract_demands(connection, 1) == []
        assert await read_period_min(connection, 1) == 15


async def test_prices_reach_further_when_a_year_begins_though_nobody_starts_the_service(database_url: str) -> None:
    """In Berlin 2027 begins at 23:00 UTC."""
    new_year = datetime(2026, 12, 31, 23, tzinfo=UTC)
    reach = "SELECT max(to_time) FROM tariff_price"
    described = plant(OLD)
    async with open_pool(database_url, max_size=1) as pool:
        async with pool.acquire() as connection:
            await sync(connection, described)
        assert not await extend_tariffs(pool, described, now=new_year - timedelta(seconds=1))
        assert await pool.fetchval(reach) == datetime(2028, 12, 31, 23, tzinfo=UTC)
        # Who goes by another description leaves the prices to those who made them.
        assert not await extend_tariffs(pool, plant(OLD | {"levy_per_kwh": 9}), now=new_year)
        assert await extend_tariffs(pool, described, now=new_year)
        assert await pool.fetchval(reach) == datetime(2029, 12, 31, 23, tzinfo=UTC)
        assert await pool.fetchval("SELECT DISTINCT levy_per_kwh FROM tariff_price") == 0.02
        assert not await extend_tariffs(pool, described, now=new_year)
        assert not await extend_tariffs(pool, plant(), now=new_year)
        async with pool.acquire() as connection:
            written = await connection.fetchval("SELECT written_at FROM tariff_mirror")
            await sync(connection, described, now=new_year)
            assert await connection.fetchval("SELECT written_at FROM tariff_mirror") == written


async def test_a_demand_that_is_agreed_later_is_that_of_the_site_when_its_day_comes(database_url: str) -> None:
    changes = [{"valid_from": "2026-07-01", "contract_demand_kw": 5000}]
    described = plant(contract_demand_kw=4000, contract_demand_changes=changes)
    midnight = datetime(2026, 6, 30, 22, tzinfo=UTC)
    async with open_pool(database_url, max_size=1) as pool:
        async with pool.acquire() as connection:
            await sync(connection, described)
        for instant, agreed_kw in ((midnight - timedelta(seconds=1), 4000), (midnight, 5000)):
            await extend_tariffs(pool, described, now=instant)
            assert await pool.fetchval("SELECT contract_demand_kw FROM site") == agreed_kw


async def test_what_a_tariff_charges_for_demand_comes_back_as_it_was_written(database_url: str) -> None:
    charge = {
        "basis": "maximum_demand",
        "price_per_month": 9.5,
        "minimum_share_of_contract": 0.8,
        "excess": [
            {"above_share_of_contract": 1.0, "price_factor": 2},
            {"above_share_of_contract": 1.1, "price_factor": 3},
        ],
    }
    steps = [{"from_power_factor": 0, "percent": 5}, {"from_power_factor": 0.9, "percent": 0}]
    async with open_pool(database_url, max_size=1) as pool, pool.acquire() as connection:
        own = NEW | {"demand_charge": charge, "power_factor": {"steps": steps}}
        await sync(connection, plant(OLD, own, contract_demand_kw=1000))
        old, new = (each.terms for each in await read_tariffs(connection, 1))
        assert (old.demand_minimum_share, old.demand_excess, old.power_factor_rounds) == (None, (), True)
        assert (new.demand_minimum_share, new.demand_excess) == (0.8, (ExcessBand(1.0, 2.0), ExcessBand(1.1, 3.0)))
        assert new.power_factor_rounds is False
