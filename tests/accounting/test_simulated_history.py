"""History written straight into the tiers against what accounting makes of the same truth as readings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pytest

from emsd.accounting import PlantAccounting
from emsd.accounting.history import Wish, write_history
from emsd.accounting.kpi_inputs import KpiInputs
from emsd.energy.series import IncrementFlag
from emsd.errors import SettingsError
from emsd.plant.loader import LoadedPlant, load_plant
from emsd.readings import instant_us, reading_of
from emsd.store.column_copy import copy_columns
from emsd.store.gauges import TIERED_GAUGES
from emsd.store.plant import sync_plant
from emsd.store.pool import Pool, open_pool
from emsd.store.readings import ReadingWriter
from simulator import SimulatedPlant
from simulator.history import history, readable_series

ROOT = Path(__file__).resolve().parents[2]
BEGIN = datetime(2026, 6, 14, 14, 0, tzinfo=UTC)  # two hours before midnight at the site
END = BEGIN + timedelta(hours=6)
FLAG = int(IncrementFlag.SIMULATED)
CHOSEN = (
    "incomer", "cleanroom-exhaust", "compressor-1-feeder", "compressor-2-feeder", "compressor-1-controller",
    "compressor-1-flow", "chiller-1-feeder", "chiller-1-controller", "chiller-1-water", "pv-1-inverter",
    "weather-array",
)  # fmt: skip
"""Counters of every kind, a generator, both inputs of the virtual meter, directions, and inputs of key figures."""


@pytest.fixture(scope="module")
def loaded() -> LoadedPlant:
    return load_plant(ROOT / "config" / "plant.example.yaml", environ={})


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url) as opened:
        yield opened


def wish(loaded: LoadedPlant, meter_ids: dict[str, int], *, seed: int = 3, **changes: Any) -> Wish:
    physics = SimulatedPlant(loaded.plant, loaded.profiles, seed, anchor=BEGIN - timedelta(days=1))
    wanted = Wish(
        loaded,
        meter_ids,
        instant_us(BEGIN),
        instant_us(END),
        shown=lambda key, times_us, wanted: readable_series(physics, key, times_us, wanted),
        seed=seed,
        author="a test",
        meters=frozenset(CHOSEN),
        gauges=TIERED_GAUGES,
    )
    return replace(wanted, **changes)


async def tables(pool: Pool) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
    """Return every tier as key -> row, without what differs on purpose."""
    keys = {
        "interval_15m": ("meter_id", "bucket"),
        "interval_1d": ("meter_id", "day"),
        "gauge_15m": ("meter_id", "quantity_id", "bucket"),
        "gauge_1d": ("meter_id", "quantity_id", "day"),
        "asset_15m": ("asset_id", "bucket"),
        "best_15m": ("meter_id", "bucket"),
        "best_1d": ("meter_id", "day"),
    }
    found = {}
    for name, key in keys.items():
        rows = await pool.fetch(f"SELECT * FROM {name}")
        found[name] = {tuple(row[each] for each in key): dict(row) for row in rows}
        for row in found[name].values():
            row.pop("computed_at", None)
    return found


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=2e-6, atol=1e-6))
    return bool(one == other)


async def test_every_tier_is_what_accounting_makes_of_the_same_truth_but_for_the_flag(
    pool: Pool, loaded: LoadedPlant
) -> None:
    meter_ids = await sync_plant(pool, loaded.plant, loaded.profiles)
    wanted = wish(loaded, meter_ids)
    physics = SimulatedPlant(loaded.plant, loaded.profiles, 3, anchor=BEGIN - timedelta(days=1))
    chosen = {key: meter_ids[key] for key in CHOSEN}
    around = 10 * 60_000_000  # readings go on before and after
    async with ReadingWriter(pool) as writer:
        for batch in history(physics, chosen, wanted.from_us - around, wanted.to_us + around, 60.0):
            await writer.write(batch)
    await PlantAccounting(pool, loaded, meter_ids, now=lambda: END + timedelta(days=2)).run_until_clean()
    await KpiInputs(pool, loaded, meter_ids, now=lambda: END + timedelta(days=2)).run_until_clean()
    # What lies around is no part of the comparison, and the days are built of what is.
    for table in ("interval_15m", "gauge_15m", "asset_15m"):
        await pool.execute(f"DELETE FROM {table} WHERE bucket < $1 OR bucket >= $2", BEGIN, END)
    await _days_anew(pool, loaded)
    measured = await tables(pool)
    for table in ("interval_15m", "interval_1d", "interval_1m", "gauge_15m", "gauge_1d", "asset_15m", "reading"):
        await pool.execute(f"DELETE FROM {table}")
    written = await write_history(pool, wanted, lambda _: None)
    simulated = await tables(pool)

    assert written.quarter_hours == len(simulated["interval_15m"]) == 24 * 7  # six with energy, and the virtual one
    for name, rows in measured.items():
        assert rows.keys() == simulated[name].keys(), name
        for key, row in rows.items():
            other = simulated[name][key]
            if "flags" in row:
                assert other["flags"] == row["flags"] | FLAG, (name, key)
                other = {**other, "flags": row["flags"]}
            # These readings came once a minute of a meter that is polled every second.
            row.pop("voltage_unbalance_percent_coverage", None)
            apart = {column: (row[column], other[column]) for column in row if not same(row[column], other[column])}
            assert not apart, (name, key)
    assert {row["coverage"] for row in simulated["interval_15m"].values()} == {1.0}
    assert simulated["asset_15m"]


async def _days_anew(pool: Pool, loaded: LoadedPlant) -> None:
    await pool.execute("DELETE FROM interval_1d")
    await pool.execute("DELETE FROM gauge_1d")
    zone = loaded.plant.site.time_zone
    for mark, table in (("dirty_day", "interval_15m"), ("dirty_gauge_day", "gauge_15m")):
        await pool.execute(
            f"INSERT INTO {mark} SELECT DISTINCT meter_id, (bucket AT TIME ZONE '{zone}')::date FROM {table}"
        )
    ids = await sync_plant(pool, loaded.plant, loaded.profiles)
    await PlantAccounting(pool, loaded, ids, now=lambda: END + timedelta(days=2)).run_until_clean()


async def test_what_stands_there_is_left_alone_unless_told_and_the_ledger_names_who_wrote(
    pool: Pool, loaded: LoadedPlant
) -> None:
    meter_ids = await sync_plant(pool, loaded.plant, loaded.profiles)
    incomer = meter_ids["incomer"]
    measured_at = BEGIN + timedelta(hours=1)
    await pool.execute(
        "INSERT INTO interval_15m (meter_id, bucket, energy_import_kwh, coverage, sample_count)"
        " VALUES ($1, $2, 7, 1, 900)",
        incomer,
        measured_at,
    )
    # A reading that accounting has not come to: the quarter hour will be its.
    waiting_at = BEGIN + timedelta(hours=2, minutes=3)
    async with ReadingWriter(pool) as writer:
        await writer.write([reading_of(incomer, waiting_at, {"energy_import_kwh": 1.0})])
    first = await write_history(pool, wish(loaded, meter_ids), lambda _: None)
    assert first.left_alone == 2
    before = await tables(pool)
    assert before["interval_15m"][incomer, measured_at]["energy_import_kwh"] == 7.0
    assert (incomer, BEGIN + timedelta(hours=2)) not in before["interval_15m"]

    again = await write_history(pool, wish(loaded, meter_ids), lambda _: None)
    assert (again.quarter_hours, again.gauge_quarters, again.asset_quarters) == (0, 0, 0)
    assert await tables(pool) == before

    other = await write_history(pool, wish(loaded, meter_ids, seed=4, replace="simulated"), lambda _: None)
    assert other.quarter_hours == first.quarter_hours
    assert other.gauge_quarters == first.gauge_quarters
    assert other.asset_quarters == first.asset_quarters
    after = await tables(pool)
    assert after["interval_15m"][incomer, measured_at] == before["interval_15m"][incomer, measured_at]
    assert after["interval_15m"] != before["interval_15m"]
    await write_history(pool, wish(loaded, meter_ids, replace="all"), lambda _: None)
    assert (await tables(pool))["interval_15m"][incomer, measured_at]["flags"] == FLAG

    ledger = await pool.fetch("SELECT * FROM simulated_history ORDER BY history_id")
    told = [(row["seed"], row["replaced"], row["author"]) for row in ledger]
    assert told == [(3, "nothing", "a test"), (4, "simulated", "a test"), (3, "all", "a test")]
    with pytest.raises(asyncpg.RestrictViolationError):
        await pool.execute("UPDATE simulated_history SET author = 'nobody'")


async def test_a_time_that_cannot_be_kept_is_refused(pool: Pool, loaded: LoadedPlant) -> None:
    meter_ids = await sync_plant(pool, loaded.plant, loaded.profiles)
    with pytest.raises(SettingsError, match="full quarter hours"):
        await write_history(pool, wish(loaded, meter_ids, from_us=instant_us(BEGIN) + 1), lambda _: None)
    await pool.execute("INSERT INTO retention_horizon (tier, kept_from) VALUES ('15m', $1)", END)
    with pytest.raises(SettingsError, match="retention has dropped"):
        await write_history(pool, wish(loaded, meter_ids), lambda _: None)


async def test_columns_arrive_as_they_were_and_nan_as_null(pool: Pool) -> None:
    await pool.execute("CREATE TABLE kept (a smallint, b integer, c bigint, d real, e float8, f timestamptz)")
    kinds: Any = dict(zip("abcdef", ("int2", "int4", "int8", "float4", "float8", "timestamptz"), strict=True))
    rows = 50_001  # in pieces
    number = np.arange(rows)
    columns = {
        "a": number % 1000 - 500, "b": -number, "c": number << 32, "d": np.where(number % 3, number / 4, np.nan),
        "e": np.where(number % 5, number / 7, np.inf), "f": instant_us(BEGIN) + number,
    }  # fmt: skip
    async with pool.acquire() as connection:
        assert await copy_columns(connection, "kept", kinds, columns) == rows
    found = await pool.fetch("SELECT * FROM kept ORDER BY b DESC")
    assert [row["c"] for row in found] == columns["c"].tolist()
    for place in (0, 1, 3, 5, 20_000, 50_000):
        row = found[place]
        assert (row["a"], row["f"]) == (place % 1000 - 500, BEGIN + timedelta(microseconds=place))
        assert row["d"] == (None if place % 3 == 0 else place / 4)
        assert row["e"] == (None if place % 5 == 0 else place / 7)
