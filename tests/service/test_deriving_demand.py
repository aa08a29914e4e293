"""Demand as derived values: of the site's top meters and of those that an alarm names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from emsd.alarms.binding import bind_rules
from emsd.alarms.engine import AlarmEngine
from emsd.plant.derived import derived_meter_id
from emsd.plant.loader import LoadedPlant
from emsd.plant.models import Plant
from emsd.readings import Quality, Reading, instant_us
from emsd.service.deriving import Deriving
from emsd.service.deriving_demand import derive_demand, watched_keys
from emsd.store.pool import Pool, open_pool
from tests.service.test_deriving import MINUTE, SETTLED, fill, plant, prepare

ALARM = {"key": "soon", "kind": "threshold", "quantity": "demand_forecast_kw", "above": 900, "meters": ["oven"]}
NEXT = "SELECT demand_kw, demand_forecast_kw, demand_headroom_kw, demand_minutes_left FROM reading WHERE meter_id = $1"


def with_contract(loaded: LoadedPlant, **site: Any) -> LoadedPlant:
    entries = Plant.model_validate({**dict(loaded.plant), "site": {**dict(loaded.plant.site), **site}})
    return LoadedPlant(entries, loaded.profiles, loaded.path)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url) as opened:
        yield opened


async def test_the_site_s_top_meters_and_those_of_an_alarm_are_watched(pool: Pool) -> None:
    loaded = with_contract(plant(ALARM), contract_demand_kw=900)
    assert watched_keys(loaded) == ["main", "oven"]
    ids = await prepare(pool, loaded)
    at = SETTLED + 5 * MINUTE  # five minutes into the quarter hour
    await fill(pool, ids["main"], 10.0, until=SETTLED, minutes=120)
    await fill(pool, ids["main"], 20.0, until=at, minutes=5)
    await fill(pool, ids["oven"], 2.0, until=at, minutes=125)
    async with pool.acquire() as connection:
        found = {each.meter_id: each for each in await derive_demand(connection, instant_us(at), loaded, ids)}
    main, oven = (found[derived_meter_id(ids[key])] for key in ("main", "oven"))
    assert main.time_us == instant_us(at)
    # 10 min at 600 kW and 5 at 1200; 100 kWh so far and 200 more; 125 kWh are left: 750 kW, or 6.25 min at 1200 kW.
    assert main.values == pytest.approx((800, 1200, 750, 6.25))
    assert oven.values[:2] == pytest.approx((120, 120))
    assert oven.values[2:] == (None, None)
    assert oven.quality == Quality.GOOD


async def test_what_is_not_known_is_missing_and_never_zero(pool: Pool) -> None:
    loaded = plant()
    ids = await prepare(pool, loaded)
    async with pool.acquire() as connection:
        (unknown,) = await derive_demand(connection, instant_us(SETTLED), loaded, ids)
    assert (unknown.values, unknown.quality) == ((None,) * 4, Quality.MISSING)
    await fill(pool, ids["main"], 10.0, minutes=120)
    async with pool.acquire() as connection:
        (known,) = await derive_demand(connection, instant_us(SETTLED), loaded, ids)
    # Without a contract there is no headroom.
    assert known.values[:2] == pytest.approx((600, 600))
    assert known.values[2:] == (None, None)


async def test_derived_demand_is_stored_and_an_alarm_goes_by_it(pool: Pool) -> None:
    loaded = with_contract(plant(ALARM | {"meters": ["main"]}), contract_demand_kw=1000)
    ids = await prepare(pool, loaded)
    (rule,) = bind_rules(loaded.plant, loaded.profiles, ids)
    assert rule.meter_id == derived_meter_id(ids["main"])
    await fill(pool, ids["main"], 10.0, minutes=120)
    seen: list[Reading] = []
    deriving = Deriving(
        pool,
        [derive_demand],
        settle_s=15,
        observers=[seen.append],
        now=lambda: datetime(2026, 6, 16, 8, 0, 20, tzinfo=UTC),
    )
    deriving.adopt(loaded, ids)
    assert await deriving.derive_once(instant_us(SETTLED))
    row = await pool.fetchrow(NEXT, derived_meter_id(ids["main"]))
    assert row is not None
    assert tuple(row) == pytest.approx((600, 600, 1000, 15))
    assert [each.meter_id for each in seen] == [rule.meter_id]


async def test_an_alarm_on_the_forecast_holds_within_its_deadband_and_while_nothing_is_known_and_ends_with_the_period(
    pool: Pool,
) -> None:
    """The quarter hour from 08:00: 1,200 kW, then 720 and nothing; the next one begins at 600 kW.

    Forecasts: 1,200 at 08:03; at 08:07 (3 x 1,200 + 12 x 720) / 15 = 816, within 100 kW of 900; unknown at 08:13, six
    minutes later than anything known; 600 when the next period has begun.
    """
    loaded = with_contract(plant(ALARM | {"meters": ["main"], "deadband": 100}), contract_demand_kw=900)
    ids = await prepare(pool, loaded)
    later_us = instant_us(SETTLED + 60 * MINUTE)
    engine = AlarmEngine(bind_rules(loaded.plant, loaded.profiles, ids), pool, site_id=1, now_us=lambda: later_us)
    seen: list[Reading] = []
    made = Deriving(pool, [derive_demand], settle_s=15, observers=[seen.append, engine.observe])
    made.adopt(loaded, ids)
    await fill(pool, ids["main"], 10.0, minutes=120)
    running = asyncio.create_task(engine.run())
    try:
        for minute, minutes, kwh in ((3, 3, 20.0), (7, 4, 12.0), (13, 0, 0.0), (15, 4, 10.0), (18, 3, 10.0)):
            at = SETTLED + minute * MINUTE
            if minutes:
                await fill(pool, ids["main"], kwh, until=at, minutes=minutes)
            assert await made.derive_once(instant_us(at))
        async with asyncio.timeout(60):
            while await pool.fetchval("SELECT count(*) FROM alarm_journal") < 2:  # noqa: ASYNC110 - the only sign
                await asyncio.sleep(0.02)
    finally:
        running.cancel()
        await asyncio.wait({running})
    forecasts = [reading.value("demand_forecast_kw") for reading in seen]
    assert forecasts[:2] == [pytest.approx(1200), pytest.approx(816)]
    assert forecasts[2:] == [None, pytest.approx(600), pytest.approx(600)]
    assert [reading.value("demand_minutes_left") for reading in seen] == [
        # 165 of 225 kWh are left at 1,200 kW; 117 at 720, more than eight minutes need; unknown; 150 of 225 are used.
        *(pytest.approx(8.25), 15, None, 15, 15),
    ]
    rows = await pool.fetch("SELECT transition, time FROM alarm_journal ORDER BY time")
    assert [tuple(row) for row in rows] == [("occur", SETTLED + 3 * MINUTE), ("return", SETTLED + 15 * MINUTE)]


async def test_the_contract_is_that_of_the_day(pool: Pool) -> None:
    changes = [{"valid_from": "2026-06-17", "contract_demand_kw": 700}]
    loaded = with_contract(plant(), contract_demand_kw=1000, contract_demand_changes=changes)
    ids = await prepare(pool, loaded)
    headrooms = []
    # 22:00 UTC is midnight in Berlin.
    for at in (datetime(2026, 6, 16, 21, 45, tzinfo=UTC), datetime(2026, 6, 16, 22, 0, tzinfo=UTC)):
        await fill(pool, ids["main"], 10.0, until=at, minutes=15)
        async with pool.acquire() as connection:
            (found,) = await derive_demand(connection, instant_us(at), loaded, ids)
        headrooms.append(found.value("demand_headroom_kw"))
    assert headrooms == [pytest.approx(1000), pytest.approx(700)]
