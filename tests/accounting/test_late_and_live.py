"""When minutes are computed: as soon as they are over, and again within a minute of a reading that comes late."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from emsd.accounting import Accounting, MeterAccount, PlantAccounting
from emsd.accounting.kpi_inputs import KpiInputs
from emsd.energy.counters import CounterRules
from emsd.energy.windows import local_day_bounds
from emsd.plant.loader import LoadedPlant
from emsd.readings import Reading, instant_us, reading_of
from emsd.settings import Settings
from emsd.store.best_energy import read_best_energy
from emsd.store.demand import read_demand_blocks
from emsd.store.energy_series import read_energy
from emsd.store.plant import sync_plant
from emsd.store.pool import Pool, open_pool
from emsd.store.readings import ReadingWriter
from emsd.store.reads import snapshot
from emsd.store.virtual_meters import virtual_meter_ids
from tests.accounting import test_kpi_inputs as inputs

ZONE = ZoneInfo("Europe/Berlin")
METER = 1_000_001
ACCOUNTS = {
    METER: MeterAccount(METER, CounterRules(max_gap_s=300.0, max_power_kw=1000.0), True, False, poll_interval_s=10.0)
}
GAUGES = {METER: ("voltage_l1_n_v",)}


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url) as opened:
        yield opened


async def store(pool: Pool, readings: Sequence[Reading]) -> None:
    async with ReadingWriter(pool) as writer:
        await writer.write(readings)


@asynccontextmanager
async def running(loop: Accounting | KpiInputs) -> AsyncIterator[None]:
    task = asyncio.create_task(loop.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_reading_of_last_week_is_in_every_tier_within_a_minute(pool: Pool) -> None:
    midnight = datetime.now(ZONE).replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
    noon = midnight - timedelta(days=7) + timedelta(hours=12)
    at = [noon + timedelta(minutes=5 * step) for step in range(-2, 3)]
    voltages = (230.0, 231.0, 250.0, 229.0, 230.0)
    readings = [
        reading_of(METER, when, {"energy_import_kwh": 100.0 + 10 * n, "voltage_l1_n_v": voltages[n]})
        for n, when in enumerate(at)
    ]
    late = readings.pop(2)
    minutes, quarters = "interval_1m WHERE bucket = $1", "interval_15m WHERE bucket = $1"
    asked = {
        f"SELECT sample_count FROM {minutes}": 1,
        f"SELECT sample_count FROM {quarters}": 3,
        "SELECT sample_count FROM interval_1d WHERE bucket <= $1 AND bucket > $1 - INTERVAL '1 day'": 5,
        "SELECT max_value FROM gauge_15m WHERE bucket = $1": 250.0,
        "SELECT max_value FROM gauge_1d WHERE bucket <= $1 AND bucket > $1 - INTERVAL '1 day'": 250.0,
    }
    interval_s = Settings.model_fields["accounting_interval_s"].default
    accounting = Accounting(pool, ACCOUNTS, ZONE, gauges=GAUGES, interval_s=interval_s)
    async with running(accounting):
        await store(pool, readings)
        async with asyncio.timeout(60):
            while not await pool.fetchval("SELECT count(*) FROM gauge_1d"):  # noqa: ASYNC110 - the database knows
                await asyncio.sleep(0.05)
        for query, figure in asked.items():
            assert await pool.fetchval(query, noon) != figure, query
        await store(pool, [late])
        async with asyncio.timeout(60):
            for query, figure in asked.items():
                while await pool.fetchval(query, noon) != figure:  # noqa: ASYNC110 - the database knows
                    await asyncio.sleep(0.05)


def a_bus(folder: Path) -> LoadedPlant:
    """The plant of the key figures, with one feeder below the other and what is left between them."""
    plant = copy.deepcopy(inputs.PLANT)
    for meter in plant["meters"]:
        if meter["key"] == "screw-feeder":
            meter["parent"] = "feeder"
    plant["virtual_meters"] = [
        {"key": "rest", "name": "Rest", "asset": "chiller", "expression": "feeder - screw-feeder"}
    ]
    return inputs.load(folder, plant)


async def test_readings_of_last_week_are_in_balance_demand_and_key_figures_within_a_minute(
    pool: Pool, tmp_path: Path
) -> None:
    """A virtual meter, the balance of a bus, demand, an input of key figures, and the best energy of the day."""
    loaded = a_bus(tmp_path)
    ids = await sync_plant(pool, loaded.plant, loaded.profiles) | await virtual_meter_ids(pool, 1)
    await pool.execute("UPDATE virtual_meter SET pending_before = NULL")  # it is not new
    midnight = datetime.now(ZONE).replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
    noon = midnight - timedelta(days=7) + timedelta(hours=12)
    readings = [
        reading_of(
            ids[key],
            noon + timedelta(minutes=n),
            {"energy_import_kwh": 100.0 + kw / 60 * n, "reactive_energy_import_kvarh": 50.0 + n},
        )
        for key, kw in (("feeder", 300.0), ("screw-feeder", 120.0))
        for n in range(-10, 26)
    ]
    late = [each for each in readings if each.meter_id == ids["feeder"] and 3 < (each.time - noon).seconds / 60 < 10]
    noon_us, meters = instant_us(noon), [ids["feeder"], ids["screw-feeder"], ids["rest"]]
    edges_us = np.array([noon_us, noon_us + 900_000_000], dtype=np.int64)

    async def told() -> dict[str, list[float | None]]:
        async with snapshot(pool, "look") as connection:
            found = {
                table: await connection.fetch(
                    f"SELECT round(coverage::numeric, 6)::float8 FROM {table} WHERE meter_id = ANY($1::integer[])"
                    " AND bucket BETWEEN $2 AND $3 ORDER BY meter_id",
                    meters,
                    from_,
                    noon + timedelta(minutes=5),
                )
                for table, from_ in (
                    ("interval_1m", noon + timedelta(minutes=5)),
                    ("interval_15m", noon),
                    ("interval_1d", noon - timedelta(hours=18)),
                )
            }
            found["key figures"] = await connection.fetch(
                "SELECT reactive_kvarh, reactive_kvarh_coverage::float8 FROM asset_15m JOIN asset USING (asset_id)"
                " WHERE key = 'chiller' AND bucket = $1",
                noon,
            )
            bus = await read_energy(connection, meters[:2], "15m", edges_us)
            demand = await read_demand_blocks(connection, meters[:1], *edges_us.tolist(), period_min=15)
            best = (await read_best_energy(connection, meters[2:], "15m", edges_us))[ids["rest"]]
        figures = {name: [value for row in rows for value in row] for name, rows in found.items()}
        residual = bus[meters[0]].import_kwh - bus[meters[1]].import_kwh
        return figures | {
            "balance": [*residual.tolist(), *bus[meters[0]].coverage.tolist()],
            "demand": [*demand.demand_kw.tolist(), *demand.coverage.tolist()],
            "virtual": [*best.import_kwh.tolist(), *best.estimated_import_kwh.tolist()],
        }

    async def are(wanted: dict[str, list[float]]) -> None:
        async with asyncio.timeout(60):
            while any(  # noqa: ASYNC110 - the database knows
                each != pytest.approx(wanted[name], abs=1e-5) for name, each in (await told()).items()
            ):
                await asyncio.sleep(0.05)

    assert inspect.signature(KpiInputs).parameters["interval_s"].default <= 30
    figures = KpiInputs(pool, loaded, ids, interval_s=0.5)
    async with running(PlantAccounting(pool, loaded, ids)), running(figures):
        await store(pool, [each for each in readings if each not in late])
        begin, end = local_day_bounds(noon.astimezone(ZONE).date(), ZONE)
        gap, told_s, day_s = 7 * 60, 35 * 60, (end - begin).total_seconds()
        await are(
            {
                "interval_1m": [0, 1, 0],
                "interval_15m": [1 - gap / 900, 1, 1 - gap / 900],
                "interval_1d": [(told_s - gap) / day_s, told_s / day_s, (told_s - gap) / day_s],
                "balance": [45, 1 - gap / 900],
                "demand": [300, 1 - gap / 900],
                "virtual": [45, 3 * gap / 60],
                "key figures": [8, 1 - gap / 900],
            }
        )
        await store(pool, late)
        await are(
            {
                "interval_1m": [1, 1, 1],
                "interval_15m": [1, 1, 1],
                "interval_1d": [told_s / day_s] * 3,
                "balance": [45, 1],
                "demand": [300, 1],
                "virtual": [45, 0],
                "key figures": [15, 1],
            }
        )


async def test_a_minute_is_computed_when_it_is_over_and_the_running_one_only_when_asked_for(pool: Pool) -> None:
    start = datetime(2026, 5, 4, 6, 0, tzinfo=UTC)
    now = start
    accounting = Accounting(pool, ACCOUNTS, ZONE, now=lambda: now)
    await store(
        pool,
        [
            reading_of(METER, start + timedelta(seconds=10 * step), {"energy_import_kwh": 100.0 + step})
            for step in range(10)
        ],
    )

    async def minutes() -> int:
        return int(await pool.fetchval("SELECT count(*) FROM interval_1m"))

    now = start + timedelta(seconds=61)
    assert not await accounting.run_once(running_too=False)
    assert (await minutes(), accounting.stats.lag_s) == (0, 0.0), "its last readings may still be under way"
    now = start + timedelta(seconds=63)
    await accounting.run_once(running_too=False)
    assert await minutes() == 2, "the energy up to the first reading of the next minute shows there"
    assert await pool.fetchval("SELECT count(*) FROM dirty_interval") == 1
    await accounting.run_once()
    assert await pool.fetchval("SELECT count(*) FROM dirty_interval") == 0


async def test_lag_is_how_long_the_oldest_minute_that_waits_has_been_over(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emsd.accounting import loop

    monkeypatch.setattr(loop, "_MARKS_PER_PASS", 1)
    start = datetime(2026, 5, 4, 6, 0, tzinfo=UTC)
    now = start + timedelta(minutes=12)
    accounting = Accounting(pool, ACCOUNTS, ZONE, now=lambda: now)
    for step in (0, 3, 9):
        await store(pool, [reading_of(METER, start + timedelta(minutes=step), {"energy_import_kwh": 100.0 + step})])
    lags = []
    while await accounting.run_once(running_too=False):
        lags.append(accounting.stats.lag_s)
    assert lags == [11 * 60, 11 * 60, 0], "the newest are computed first"
