"""Intervals of virtual meters are those of their inputs, combined, whatever changes and in whatever order."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from emsd.accounting.virtual import VirtualMeters
from emsd.energy.series import BUCKET_1M_US, BUCKET_15M_US, IncrementFlag
from emsd.plant.models import Plant
from emsd.plant.profile import Profile
from emsd.readings import instant_us
from emsd.store import intervals as table
from emsd.store.plant import sync_plant
from emsd.store.pool import Pool, open_pool
from emsd.store.virtual_meters import virtual_meter_ids

START = datetime(2026, 3, 28, 22, 0, tzinfo=UTC)
START_US = instant_us(START)
BERLIN = ZoneInfo("Europe/Berlin")
PROFILES = {
    "power": Profile.model_validate(
        {
            "profile": "power",
            "kind": "power_meter",
            "manufacturer": "Example",
            "model": "M",
            "source": ["example"],
            "modbus": {"points": [{"quantity": "active_power_kw", "address": 0, "type": "f32"}]},
        }
    )
}
NAN = float("nan")


def plant(*virtual: Mapping[str, Any]) -> Plant:
    return Plant.model_validate(
        {
            "site": {"name": "Works", "time_zone": "Europe/Berlin", "carbon_region": "DE"},
            "areas": [{"key": "hall", "name": "Hall"}],
            "assets": [{"key": "bus", "name": "Bus", "kind": "feeder", "area": "hall"}],
            "connections": [{"key": "gateway", "kind": "modbus_tcp", "host": "127.0.0.1"}],
            "meters": [
                {
                    "key": key,
                    "name": key,
                    "asset": "bus",
                    "profile": "power",
                    "connection": "gateway",
                    "unit_id": unit,
                    "parent": None if key == "main" else "main",
                }
                for unit, key in enumerate(("main", "press", "pv-1"), start=1)
            ],
            "virtual_meters": [{"name": each["key"], "asset": "bus", **each} for each in virtual],
        }
    )


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url) as opened:
        yield opened


async def configure(pool: Pool, *virtual: Mapping[str, Any]) -> dict[str, int]:
    ids = await sync_plant(pool, plant(*virtual), PROFILES)
    return ids | await virtual_meter_ids(pool, 1)


async def fill(pool: Pool, meter_id: int, minutes: Mapping[int, float], **more: float) -> dict[int, set[int]]:
    """Write net energy of minutes counted from START [kWh]; NaN deletes the minute. Return what a pass would tell."""
    known = {minute: net for minute, net in minutes.items() if math.isfinite(net)}
    net = np.array(list(known.values()), dtype=np.float64)

    def all_of(value: float) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.full(net.size, value)

    begins = [START_US + minute * BUCKET_1M_US for minute in minutes]
    gone = [START_US + minute * BUCKET_1M_US for minute in minutes if minute not in known]
    rows = table.MinuteRows(
        meter_id=meter_id,
        bucket_us=np.array([START_US + minute * BUCKET_1M_US for minute in known], dtype=np.int64),
        energy_import_kwh=np.maximum(net, 0.0),
        energy_export_kwh=np.maximum(-net, 0.0),
        estimated_import_kwh=all_of(more.get("estimated", 0.0)),
        estimated_export_kwh=all_of(0.0),
        power_min_kw=all_of(NAN),
        power_avg_kw=net * 60,
        power_max_kw=all_of(NAN),
        coverage=all_of(more.get("coverage", 1.0)),
        sample_count=np.full(net.size, 60),
        flags=np.zeros(net.size, dtype=np.uint8),
        unknown_us=[(begin, begin + BUCKET_1M_US) for begin in gone],
    )
    async with pool.acquire() as connection, connection.transaction():
        await table.write_minutes(connection, [rows])
        await table.delete_unknown_minutes(connection, [rows])
        quarters = {(meter_id, begin - begin % BUCKET_15M_US) for begin in begins}
        await table.delete_empty_quarters(connection, sorted(quarters))
        await table.build_quarters(connection, sorted(quarters))
    return {meter_id: set(begins)}


async def after_pass(pool: Pool, changed: Mapping[int, set[int]], *, until_done: bool = False) -> int:
    """Do what a pass does, once or until nothing is left; return how many passes."""
    virtual = VirtualMeters(BERLIN)
    passes = 0
    while True:
        async with pool.acquire() as connection, connection.transaction():
            left = await virtual.after_pass(connection, changed if passes == 0 else {})
        passes += 1
        if not (until_done and left):
            return passes


async def minutes_of(pool: Pool, meter_id: int) -> dict[int, float | None]:
    """Net energy of the minutes of a meter, counted from START."""
    rows = await pool.fetch(
        "SELECT bucket, energy_import_kwh - energy_export_kwh AS net FROM interval_1m"
        " WHERE meter_id = $1 ORDER BY bucket",
        meter_id,
    )
    return {(instant_us(row["bucket"]) - START_US) // BUCKET_1M_US: row["net"] for row in rows}


async def test_a_pass_carries_changes_through_virtual_meters_of_virtual_meters_up_to_the_day(pool: Pool) -> None:
    ids = await configure(
        pool,
        {"key": "half", "expression": "rest / 2"},  # before what it is made of
        {"key": "rest", "expression": "main - press - pv-1"},
    )
    changed = await fill(pool, ids["main"], {0: 10, 1: 10, 20: 2}, estimated=1.0, coverage=0.5)
    changed |= await fill(pool, ids["press"], {0: 4, 1: 12, 20: 1})
    changed |= await fill(pool, ids["pv-1"], {0: -3, 1: 0, 20: 0})
    await after_pass(pool, changed)
    assert await minutes_of(pool, ids["rest"]) == {0: 9, 1: -2, 20: 1}
    assert await minutes_of(pool, ids["half"]) == {0: 4.5, 1: -1, 20: 0.5}
    first = await pool.fetchrow(
        "SELECT * FROM interval_1m WHERE meter_id = $1 ORDER BY bucket OFFSET 1 LIMIT 1", ids["rest"]
    )
    assert first is not None
    assert (first["energy_import_kwh"], first["energy_export_kwh"]) == (0, 2)
    assert (first["estimated_import_kwh"], first["estimated_export_kwh"]) == (0, 1)
    assert (first["coverage"], first["sample_count"], first["power_avg_kw"]) == (0.5, 3, -120)
    assert (first["power_min_kw"], first["power_max_kw"]) == (None, None)
    quarters = await pool.fetch("SELECT * FROM interval_15m WHERE meter_id = $1 ORDER BY bucket", ids["half"])
    assert [(row["energy_import_kwh"], row["energy_export_kwh"]) for row in quarters] == [(4.5, 1), (0.5, 0)]
    assert quarters[0]["power_avg_kw"] == pytest.approx((270 - 60) / 2)
    days = await pool.fetch("SELECT DISTINCT meter_id, day::text FROM dirty_day WHERE meter_id = $1", ids["half"])
    assert [row["day"] for row in days] == ["2026-03-28"]


async def test_a_missing_input_is_unknown_or_left_out_as_the_plant_says_and_nothing_stays_of_what_vanished(
    pool: Pool,
) -> None:
    ids = await configure(
        pool,
        {"key": "strict", "expression": "main + press"},
        {"key": "lenient", "expression": "main + press", "missing": "partial"},
    )
    changed = await fill(pool, ids["main"], {0: 10, 1: 10})
    changed |= await fill(pool, ids["press"], {1: 4, 2: 4})
    await after_pass(pool, changed)
    assert await minutes_of(pool, ids["strict"]) == {0: None, 1: 14, 2: None}
    assert await minutes_of(pool, ids["lenient"]) == {0: 10, 1: 14, 2: 4}
    rows = await pool.fetch(
        "SELECT flags, coverage FROM interval_1m WHERE meter_id = $1 ORDER BY bucket", ids["lenient"]
    )
    assert [tuple(row) for row in rows] == [(IncrementFlag.PARTIAL, 0.5), (0, 1), (IncrementFlag.PARTIAL, 0.5)]
    gone = await fill(pool, ids["main"], {0: NAN, 1: NAN})
    gone |= await fill(pool, ids["press"], {1: NAN, 2: NAN})
    await after_pass(pool, gone)
    for key in ("strict", "lenient"):
        assert await minutes_of(pool, ids[key]) == {}
        assert await pool.fetchval("SELECT count(*) FROM interval_15m WHERE meter_id = $1", ids[key]) == 0


async def test_a_new_or_changed_expression_is_applied_to_the_past_and_an_equal_one_costs_nothing(pool: Pool) -> None:
    ids = await configure(pool)
    past = range(0, 3 * 1440, 97)
    now = datetime.now(UTC)
    begin = int((now - START) / timedelta(minutes=1)) - 3 * 1440  # of three days up to now
    known = {begin + minute: float(minute % 7) for minute in past}
    await fill(pool, ids["main"], known)
    await fill(pool, ids["press"], dict.fromkeys(known, 1.0))
    ids = await configure(
        pool, {"key": "rest", "expression": "main - press"}, {"key": "twice", "expression": "2 * rest"}
    )
    assert await minutes_of(pool, ids["rest"]) == {}
    assert 4 <= await after_pass(pool, {}, until_done=True) <= 20
    assert await minutes_of(pool, ids["rest"]) == {minute: net - 1 for minute, net in known.items()}
    assert await minutes_of(pool, ids["twice"]) == {minute: 2 * net - 2 for minute, net in known.items()}
    # Written in another way it is the same.
    await configure(
        pool, {"key": "rest", "expression": "- press + main"}, {"key": "twice", "expression": "rest + rest"}
    )
    assert await after_pass(pool, {}, until_done=True) == 1
    await configure(pool, {"key": "rest", "expression": "press"}, {"key": "twice", "expression": "2 * rest"})
    await after_pass(pool, {}, until_done=True)
    assert set((await minutes_of(pool, ids["twice"])).values()) == {2.0}
    # What was away for a while lacks what came meanwhile.
    await configure(pool)
    await fill(pool, ids["press"], {begin: 5.0})
    await configure(pool, {"key": "rest", "expression": "press"})
    await after_pass(pool, {}, until_done=True)
    assert (await minutes_of(pool, ids["rest"]))[begin] == 5


@pytest.mark.parametrize("seed", range(3))
async def test_any_order_of_changes_ends_in_the_tables_of_a_computation_from_scratch(pool: Pool, seed: int) -> None:
    chance = random.Random(seed)
    virtual = (
        {"key": "rest", "expression": "main - 0.5 * press - pv-1"},
        {"key": "some", "expression": "press + pv-1", "missing": "partial"},
        {"key": "all", "expression": "rest + some", "missing": "partial"},
    )
    ids = await configure(pool, *virtual)
    await after_pass(pool, {}, until_done=True)
    for _ in range(12):
        changed: dict[int, set[int]] = {}
        for key in chance.sample(("main", "press", "pv-1"), chance.randint(1, 3)):
            minutes = {
                chance.randrange(40): NAN if chance.random() < 0.2 else chance.uniform(-5, 9)
                for _ in range(chance.randint(1, 8))
            }
            changed |= await fill(pool, ids[key], minutes)
        await after_pass(pool, changed)

    async def tables() -> list[list[tuple[Any, ...]]]:
        found = []
        for name in ("interval_1m", "interval_15m"):
            rows = await pool.fetch(f"SELECT * FROM {name} ORDER BY meter_id, bucket")
            found.append(
                [
                    tuple(round(value, 9) if isinstance(value, float) else value for name, value in row.items()
                          if name != "computed_at")
                    for row in rows
                ]
            )  # fmt: skip
        return found

    kept = await tables()
    assert len(kept[0]) > 60
    own = [ids[each["key"]] for each in virtual]
    for name in ("interval_1m", "interval_15m"):
        await pool.execute(f"DELETE FROM {name} WHERE meter_id = ANY($1::integer[])", own)
    whole = {START_US + minute * BUCKET_1M_US for minute in range(40)}
    await after_pass(pool, {ids[key]: whole for key in ("main", "press", "pv-1")})
    assert await tables() == kept
