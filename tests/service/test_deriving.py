"""Derived values: computed once the minute is accounted, stored without making anything dirty, watched by alarms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from emsd.alarms.binding import bind_rules
from emsd.alarms.engine import AlarmEngine
from emsd.plant.derived import derived_meter_id
from emsd.plant.loader import LoadedPlant
from emsd.plant.models import Plant
from emsd.plant.profile import Profile
from emsd.readings import Quality, Reading, instant_us, reading_of
from emsd.service.deriving import Deriving
from emsd.service.deriving_balance import derive_balance
from emsd.service.readiness import Readiness
from emsd.store.plant import sync_plant
from emsd.store.pool import Pool, Session, open_pool
from emsd.store.virtual_meters import virtual_meter_ids

NOW = datetime(2026, 6, 16, 8, 0, 20, tzinfo=UTC)
SETTLED = datetime(2026, 6, 16, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def profile(name: str, *quantities: str) -> Profile:
    points = [{"quantity": each, "address": 2 * place, "type": "f32"} for place, each in enumerate(quantities)]
    return Profile.model_validate(
        {
            "profile": name,
            "kind": "power_meter",
            "manufacturer": "Example",
            "model": name,
            "source": ["example"],
            "modbus": {"points": points},
        }
    )


PROFILES = {
    each.profile: each
    for each in (profile("both", "active_power_kw", "energy_import_kwh"), profile("power", "active_power_kw"))
}


def plant(*alarms: Mapping[str, Any]) -> LoadedPlant:
    meters: list[dict[str, Any]] = [
        {"key": "main", "profile": "both", "residual": {"band_percent": [0, 4]}},
        {"key": "press", "profile": "both", "parent": "main"},
        {"key": "oven", "profile": "power", "parent": "main"},
    ]
    entries = Plant.model_validate(
        {
            "site": {"name": "Works", "time_zone": "Europe/Berlin", "carbon_region": "DE"},
            "areas": [{"key": "hall", "name": "Hall"}],
            "assets": [{"key": "bus", "name": "Bus", "kind": "feeder", "area": "hall"}],
            "connections": [{"key": "gateway", "kind": "modbus_tcp", "host": "127.0.0.1"}],
            "meters": [
                {"name": each["key"].title(), "asset": "bus", "connection": "gateway", "unit_id": unit, **each}
                for unit, each in enumerate(meters, start=1)
            ],
            "alarms": [{"name": each["key"], "kind": "threshold", **each} for each in alarms],
        }
    )
    return LoadedPlant(entries, PROFILES, Path("plant.yaml"))


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url) as opened:
        yield opened


async def prepare(pool: Pool, loaded: LoadedPlant) -> dict[str, int]:
    ids = await sync_plant(pool, loaded.plant, loaded.profiles)
    return ids | await virtual_meter_ids(pool, 1)


async def fill(
    pool: Pool,
    meter_id: int,
    kwh: float,
    *,
    power_kw: float | None = None,
    until: datetime = SETTLED,
    minutes: int = 60,
) -> None:
    """Write minutes up to `until` with this energy each."""
    await pool.execute(
        "INSERT INTO interval_1m (bucket, meter_id, energy_import_kwh, power_avg_kw, coverage, sample_count)"
        " SELECT bucket, $1, $2, $3, 1, 60"
        " FROM generate_series($4::timestamptz, $5::timestamptz - interval '1 minute', '1 minute') AS bucket"
        " ON CONFLICT (meter_id, bucket) DO UPDATE SET energy_import_kwh = excluded.energy_import_kwh",
        meter_id,
        kwh,
        60 * kwh if power_kw is None else power_kw,
        until - minutes * MINUTE,
        until,
    )


def deriving(pool: Pool, loaded: LoadedPlant, ids: Mapping[str, int], seen: list[Reading] | None = None) -> Deriving:
    observers = () if seen is None else (seen.append,)
    made = Deriving(pool, (derive_balance,), settle_s=15, observers=observers, now=lambda: NOW)
    made.adopt(loaded, ids)
    return made


async def stored(pool: Pool, meter_id: int) -> list[tuple[Any, ...]]:
    rows = await pool.fetch(
        "SELECT time, residual_kw, residual_percent, counter_power_deviation_percent, quality FROM reading"
        " WHERE meter_id = $1 ORDER BY time",
        derived_meter_id(meter_id),
    )
    return [tuple(row) for row in rows]


async def test_residual_and_deviation_are_stored_as_readings_of_derived_meters_and_make_nothing_dirty(
    pool: Pool,
) -> None:
    loaded = plant()
    ids = await prepare(pool, loaded)
    await fill(pool, ids["main"], 10.0)
    await fill(pool, ids["press"], 6.0, power_kw=378.0)
    await fill(pool, ids["oven"], 3.5)
    seen: list[Reading] = []
    made = deriving(pool, loaded, ids, seen)
    assert await made.derive_once(instant_us(SETTLED))
    assert await made.derive_once(instant_us(SETTLED)), "deriving it again is harmless"
    assert await stored(pool, ids["main"]) == [(SETTLED, 30.0, 5.0, 0.0, 0)]
    assert await stored(pool, ids["press"]) == [(SETTLED, None, None, 5.0, 0)]
    assert await stored(pool, ids["oven"]) == [], "it has no counter, and nothing hangs below it"
    assert {reading.meter_id for reading in seen} == {derived_meter_id(ids["main"]), derived_meter_id(ids["press"])}
    assert await pool.fetchval("SELECT count(*) FROM dirty_interval") == 0
    assert made.stats.readings == 4


async def test_an_unknown_child_gives_a_missing_residual_not_an_old_one(pool: Pool) -> None:
    loaded = plant()
    ids = await prepare(pool, loaded)
    await fill(pool, ids["main"], 10.0)
    await fill(pool, ids["press"], 6.0, until=SETTLED - 5 * MINUTE)
    await fill(pool, ids["oven"], 3.5)
    await deriving(pool, loaded, ids).derive_once(instant_us(SETTLED))
    ((_, residual, percent, deviation, quality),) = await stored(pool, ids["main"])
    assert (residual, percent, deviation, quality) == (None, None, 0.0, Quality.MISSING)


async def test_a_meter_of_which_nothing_is_known_says_so_once(pool: Pool) -> None:
    loaded = plant()
    ids = await prepare(pool, loaded)
    made = deriving(pool, loaded, ids)
    await made.derive_once(instant_us(SETTLED - 90 * MINUTE))
    assert await pool.fetchval("SELECT count(*) FROM reading") == 0, "there never was anything to lose"
    for key, kwh in (("main", 10.0), ("press", 6.0), ("oven", 3.5)):
        await fill(pool, ids[key], kwh)
    for minutes in (0, 200, 201, 202):
        await made.derive_once(instant_us(SETTLED + minutes * MINUTE))
    rows = await stored(pool, ids["main"])
    assert rows == [(SETTLED, 30.0, 5.0, 0.0, 0), (SETTLED + 200 * MINUTE, None, None, None, rows[1][-1])]
    assert rows[1][-1] == Quality.MISSING | Quality.NOT_AVAILABLE


async def test_a_minute_that_waits_for_accounting_is_not_derived_and_one_that_was_missed_is_counted(pool: Pool) -> None:
    loaded = plant()
    ids = await prepare(pool, loaded)
    made = deriving(pool, loaded, ids)
    await pool.execute("INSERT INTO dirty_interval (bucket, meter_ids) VALUES ($1, '{1000001}')", SETTLED - MINUTE)
    assert not await made.derive_once(instant_us(SETTLED))
    assert made.stats.last_us is None
    await pool.execute("UPDATE dirty_interval SET bucket = $1", SETTLED)
    assert await made.derive_once(instant_us(SETTLED)), "the next minute has begun, and is not asked for"
    assert await made.derive_once(instant_us(SETTLED + 4 * MINUTE))
    assert made.stats.skipped == 3


async def test_how_far_derived_values_are_behind_is_known_and_makes_the_service_not_ready(pool: Pool) -> None:
    loaded = plant()
    ids = await prepare(pool, loaded)
    clock = [NOW]
    made = Deriving(pool, (derive_balance,), settle_s=15, now=lambda: clock[-1])
    made.adopt(loaded, ids)
    ready = Readiness(
        started=lambda: True,
        accounting_lag_s=lambda: None,
        deriving_lag_s=lambda: made.lag_s,
        connections=dict,
        collectors=tuple,
    )
    assert (made.lag_s, list(ready)) == (0, ["startup", "deriving"])
    clock.append(NOW + 5 * MINUTE)
    assert made.lag_s == 280, "from the start on: nothing has been derived yet"
    assert await ready["deriving"]() is None
    clock.append(NOW + 6 * MINUTE)
    assert await ready["deriving"]() == "residuals, deviations and demand are those of 340 s ago"
    assert await made.derive_once(instant_us(SETTLED + 5 * MINUTE))
    assert (made.lag_s, await ready["deriving"]()) == (60, None)
    assert made.stats.busy_s > 0


async def test_what_several_derivers_know_of_a_meter_is_one_reading(pool: Pool) -> None:
    loaded = plant()
    ids = await prepare(pool, loaded)
    seen: list[Reading] = []

    async def demand(
        _connection: Session, settled_us: int, _loaded: LoadedPlant, meter_ids: Mapping[str, int]
    ) -> Sequence[Reading]:
        return [reading_of(derived_meter_id(meter_ids["main"]), settled_us, {"demand_kw": 7.0})]

    made = Deriving(pool, (derive_balance, demand), settle_s=15, observers=(seen.append,), now=lambda: NOW)
    made.adopt(loaded, ids)
    await made.derive_once(instant_us(SETTLED))
    (of_main,) = (each for each in seen if each.meter_id == derived_meter_id(ids["main"]))
    assert set(of_main.columns) == {
        "residual_kw",
        "residual_percent",
        "counter_power_deviation_percent",
        "demand_kw",
    }
    assert of_main.value("demand_kw") == 7.0
    assert await pool.fetchval("SELECT demand_kw FROM reading WHERE meter_id = $1", of_main.meter_id) == 7.0


async def test_run_derives_each_minute_once_and_tries_again_after_a_failure(pool: Pool) -> None:
    loaded = plant()
    ids = await prepare(pool, loaded)
    seen: list[Reading] = []
    made = deriving(pool, loaded, ids, seen)
    await fill(pool, ids["main"], 10.0)
    await pool.execute("ALTER TABLE interval_1m RENAME TO interval_1m_away")
    running = asyncio.create_task(made.run())
    try:
        async with asyncio.timeout(60):
            while not made.stats.failures:  # noqa: ASYNC110 - the service has no event for it
                await asyncio.sleep(0.01)
            await pool.execute("ALTER TABLE interval_1m_away RENAME TO interval_1m")
            while not seen:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.wait({running})
    assert made.stats.last_us == instant_us(SETTLED)


async def test_a_residual_out_of_its_band_and_a_wrong_ratio_raise_alarms_of_the_meters(pool: Pool) -> None:
    loaded = plant(
        {"key": "band", "quantity": "residual_percent"},
        {"key": "ratio", "quantity": "counter_power_deviation_percent", "above": 2},
    )
    ids = await prepare(pool, loaded)
    rules = bind_rules(loaded.plant, loaded.profiles, ids)
    assert {(rule.rule_key, rule.meter_name) for rule in rules} == {
        ("band", "Main"),
        ("ratio", "Main"),
        ("ratio", "Press"),
    }
    assert next(rule.rule.describe() for rule in rules) == "residual_percent > 4 % or < 0 %"
    engine = AlarmEngine(rules, pool, site_id=1, now_us=lambda: instant_us(NOW))
    made = Deriving(pool, (derive_balance,), settle_s=15, observers=(engine.observe,), now=lambda: NOW)
    made.adopt(loaded, ids)
    await fill(pool, ids["main"], 10.0)
    await fill(pool, ids["press"], 6.0, power_kw=378.0)
    await fill(pool, ids["oven"], 3.9)
    running = asyncio.create_task(engine.run())
    try:
        assert await made.derive_once(instant_us(SETTLED))
        for key, kwh, power_kw in (("main", 10.0, 600.0), ("press", 6.0, 378.0), ("oven", 3.0, 180.0)):
            await fill(pool, ids[key], kwh, power_kw=power_kw, until=SETTLED + MINUTE, minutes=1)
        assert await made.derive_once(instant_us(SETTLED + MINUTE))
        async with asyncio.timeout(60):
            while await pool.fetchval("SELECT count(*) FROM alarm_journal") < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    finally:
        running.cancel()
        await asyncio.wait({running})
    rows = await pool.fetch(
        "SELECT meter_id, rule_key, alarm_journal.value FROM alarm_journal JOIN alarm USING (alarm_id)"
    )
    assert {(row["rule_key"], row["meter_id"]): row["value"] for row in rows} == {
        ("ratio", derived_meter_id(ids["press"])): pytest.approx(5),
        ("band", derived_meter_id(ids["main"])): pytest.approx(10),
    }
