"""From readings to the inputs of key figures: exact, late ones too, and never by whoever comes first."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from emsd.accounting import Accounting, accounts_of
from emsd.accounting.kpi_inputs import KpiInputs
from emsd.energy.kpi import STORED_INPUTS
from emsd.plant.loader import LoadedPlant, load_plant
from emsd.quantities import RUN_STATE_CODES, RunState
from emsd.readings import Reading, reading_of, to_datetime
from emsd.store import kpi_inputs as table
from emsd.store.plant import sync_plant
from emsd.store.pool import Pool, open_pool
from emsd.store.readings import ReadingWriter

BEGIN = datetime(2026, 5, 4, 6, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
STEP_S = 10


def profile(name: str, quantities: Iterable[str], **more: Any) -> dict[str, Any]:
    points: list[dict[str, Any]] = []
    for address, quantity in enumerate(quantities):
        point: dict[str, Any] = {"quantity": quantity, "address": 2 * address, "type": "f32"}
        if quantity == "run_state":
            point |= {"type": "u16", "states": {0: "off", 3: "loaded", 4: "unloaded"}}
        points.append(point)
    return {
        "profile": name,
        "kind": "generic",
        "manufacturer": "Example",
        "model": name,
        "source": ["a test"],
        "modbus": {"points": points},
    } | more


PROFILES = (
    profile(
        "feeder",
        [
            "active_power_kw",
            "energy_import_kwh",
            "reactive_energy_import_kvarh",
            *[f"voltage_l{a}_l{b}_v" for a, b in ((1, 2), (2, 3), (3, 1))],
        ],
    ),
    profile("flow", ["water_flow_m3h"]),
    profile("water", ["chilled_water_entering_temperature_c", "chilled_water_leaving_temperature_c"]),
    profile("compressor", ["run_state", "air_flow_nm3h"]),
    profile("counter", ["pieces_count", "good_pieces_count"]),
)
PLANT: dict[str, Any] = {
    "site": {"name": "Works", "time_zone": "Europe/Berlin", "carbon_region": "DE"},
    "areas": [{"key": "hall", "name": "Hall"}],
    "assets": [
        {"key": "chiller", "name": "Chiller", "kind": "chiller", "area": "hall", "rated_power_kw": 600},
        {"key": "screw", "name": "Screw", "kind": "compressor", "area": "hall", "rated_power_kw": 200},
        {"key": "tool", "name": "Tool", "kind": "process_tool", "area": "hall", "rated_power_kw": 90},
    ],
    "connections": [{"key": "bus", "kind": "modbus_tcp", "host": "127.0.0.1"}],
    "meters": [
        {
            "key": key,
            "name": key,
            "asset": asset,
            "profile": name,
            "connection": "bus",
            "unit_id": unit,
            "poll_interval_s": STEP_S,
            "max_gap_s": 120,
        }
        for unit, (key, asset, name) in enumerate(
            (
                ("feeder", "chiller", "feeder"),
                ("flow", "chiller", "flow"),
                ("water", "chiller", "water"),
                ("screw-feeder", "screw", "feeder"),
                ("screw-controller", "screw", "compressor"),
                ("tool-counter", "tool", "counter"),
            ),
            start=1,
        )
    ],
    "profile_folders": ["profiles"],
    "carbon_factors": [{"region": "DE", "valid_from": "2020-01-01", "kg_per_kwh": 0.4, "source": "a test"}],
}


@dataclass
class World:
    """The plant of a test in a database."""

    pool: Pool
    loaded: LoadedPlant
    ids: dict[str, int]
    now: datetime = BEGIN + 3 * QUARTER

    async def write(self, readings: Iterable[Reading]) -> None:
        async with ReadingWriter(self.pool) as writer:
            await writer.write(list(readings))

    async def account(self) -> None:
        accounts = accounts_of(self.loaded, self.ids)
        await Accounting(self.pool, accounts, self.loaded.plant.site.zone, now=lambda: self.now).run_until_clean()

    async def compute(self) -> None:
        await self.account()
        await KpiInputs(self.pool, self.loaded, self.ids, now=lambda: self.now).run_until_clean()

    async def rows(self) -> dict[tuple[str, datetime], dict[str, Any]]:
        found = await self.pool.fetch("SELECT asset.key, asset_15m.* FROM asset_15m JOIN asset USING (asset_id)")
        skipped = {"key", "bucket", "asset_id", "computed_at"}
        return {
            (row["key"], row["bucket"]): {name: value for name, value in row.items() if name not in skipped}
            for row in found
        }

    def chiller(self, from_s: int, to_s: int, *, step_s: int = STEP_S) -> list[Reading]:
        """500 m3/h, 12 to 7 degC, 500 kW and 250 kvar, 400 V; every meter at its own instants."""
        readings = []
        for second in range(from_s, to_s, step_s):
            at = BEGIN + timedelta(seconds=second)
            hours = (second + 3600) / 3600
            voltages = {"voltage_l1_l2_v": 462.0, "voltage_l2_l3_v": 463.0, "voltage_l3_l1_v": 455.0}
            counters = {"energy_import_kwh": 500.0 * hours, "reactive_energy_import_kvarh": 250.0 * hours}
            readings += [
                reading_of(self.ids["feeder"], at, {"active_power_kw": 500.0, **counters, **voltages}),
                reading_of(self.ids["flow"], at + timedelta(seconds=3), {"water_flow_m3h": 500.0}),
                reading_of(
                    self.ids["water"],
                    at + timedelta(seconds=7),
                    {"chilled_water_entering_temperature_c": 12.0, "chilled_water_leaving_temperature_c": 7.0},
                ),
            ]
        return readings

    def screw(self, from_s: int, to_s: int) -> list[Reading]:
        """Loaded for the first 5 minutes of every quarter hour at 1,200 Nm3/h, then unloaded."""
        readings = []
        for second in range(from_s, to_s, STEP_S):
            loaded = second % 900 < 300
            state = RUN_STATE_CODES[RunState.LOADED if loaded else RunState.UNLOADED]
            at = BEGIN + timedelta(seconds=second)
            values = {"run_state": state, "air_flow_nm3h": 1200.0}
            readings.append(reading_of(self.ids["screw-controller"], at, values))
        return readings


def load(folder: Path, plant: dict[str, Any]) -> LoadedPlant:
    """Write a plant and PROFILES into a folder, and load it."""
    (folder / "profiles").mkdir()
    for each in PROFILES:
        with (folder / "profiles" / f"{each['profile']}.yaml").open("w") as file:
            YAML().dump(each, file)
    with (folder / "plant.yaml").open("w") as file:
        YAML().dump(plant, file)
    return load_plant(folder / "plant.yaml", environ={})


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    loaded = load(tmp_path, PLANT)
    async with open_pool(database_url, max_size=4) as pool:
        yield World(pool, loaded, await sync_plant(pool, loaded.plant, loaded.profiles))


async def test_readings_become_the_golden_cop_with_its_inputs_by_the_quarter_hour(world: World) -> None:
    await world.write(world.chiller(-600, 3000))
    await world.write(world.screw(-600, 3000))
    await world.compute()
    rows = await world.rows()
    row = rows["chiller", BEGIN]
    # AHRI 550/590: 500 m3/h at 5 K are 2,906.94 kW.
    assert row["cooling_kwh"] == pytest.approx(2906.944 / 4, rel=1e-6)
    assert row["reactive_kvarh"] == pytest.approx(250 / 4, rel=1e-6)
    assert row["voltage_unbalance_percent"] == pytest.approx(1.087, abs=5e-4)
    assert [row[f"{name}_coverage"] for name in ("cooling_kwh", "reactive_kvarh", "voltage_unbalance_percent")] == [
        1,
        1,
        1,
    ]
    assert row["air_nm3"] is None
    assert row["air_nm3_coverage"] is None
    air = rows["screw", BEGIN + QUARTER]
    assert air["air_nm3"] == pytest.approx(300.0)
    assert air["loaded_h"] * 3600 == pytest.approx(300)
    assert air["running_h"] * 3600 == pytest.approx(900)
    assert ("chiller", BEGIN + 3 * QUARTER) not in rows, "a quarter hour that has not ended"


async def test_a_piece_counter_that_restarts_counts_on(world: World) -> None:
    def said(second: int) -> dict[str, float | None]:
        pieces = second / 10 + 60 if second < 450 else second / 10 - 45
        return {"pieces_count": pieces, "good_pieces_count": pieces - 1}

    await world.write(
        reading_of(world.ids["tool-counter"], BEGIN + timedelta(seconds=second), said(second))
        for second in range(-600, 3000, STEP_S)
    )
    await world.compute()
    row = (await world.rows())["tool", BEGIN]
    assert row["pieces"] == pytest.approx(89.0)  # one fell between the last reading and the restart
    assert row["pieces_coverage"] == 1


async def test_late_readings_and_another_order_change_nothing_but_what_they_tell(world: World) -> None:
    readings = [*world.chiller(-600, 3000), *world.screw(-600, 3000)]
    late = [each for each in readings if 950 <= (each.time - BEGIN).total_seconds() < 2000]
    early = [each for each in readings if each not in late]
    random.Random(1).shuffle(early)
    for start in range(0, len(early), 200):
        await world.write(early[start : start + 200])
        if start % 400 == 0:
            await world.compute()
    await world.compute()
    # Nothing is there of the second quarter hour, and the gap is longer than what may be joined.
    assert (await world.rows())["chiller", BEGIN + QUARTER]["cooling_kwh_coverage"] < 0.1
    await world.write(late)
    await world.compute()
    found = await world.rows()
    await world.pool.execute("DELETE FROM asset_15m")
    assert (
        await world.pool.fetchval("SELECT count(*) FROM dirty_asset_quarter WHERE bucket < $1", BEGIN + 2 * QUARTER)
        == 0
    )
    await world.pool.execute(
        "INSERT INTO dirty_interval (bucket, meter_ids) SELECT minute, $1"
        " FROM generate_series($2::timestamptz, $3::timestamptz, '1 minute') AS minute",
        list(world.ids.values()),
        BEGIN,
        BEGIN + 3 * QUARTER,
    )
    await world.compute()
    assert await world.rows() == found
    assert found["chiller", BEGIN + QUARTER]["cooling_kwh"] == pytest.approx(2906.944 / 4, rel=1e-6)


async def test_a_mark_that_is_set_anew_while_its_quarter_hour_is_computed_stays(world: World) -> None:
    await world.write(world.chiller(-600, 1000))
    await world.account()
    asset_id = await world.pool.fetchval("SELECT asset_id FROM asset WHERE key = 'chiller'")
    async with world.pool.acquire() as connection:
        marks = await table.read_marks(connection, {asset_id: world.now}, most=100)
        touched = {BEGIN - QUARTER, BEGIN}  # the reading counts as far as its neighbours may be
        assert touched < {to_datetime(mark.bucket_us) for mark in marks}
        await world.write([reading_of(world.ids["flow"], BEGIN + timedelta(seconds=65), {"water_flow_m3h": 400.0})])
        await world.account()
        await table.clear_marks(connection, marks)
        left = await table.read_marks(connection, {asset_id: world.now}, most=100)
    assert {to_datetime(mark.bucket_us) for mark in left} == touched


async def test_what_is_no_longer_known_loses_its_row(world: World) -> None:
    await world.write(world.screw(-600, 3000))
    await world.compute()
    assert ("screw", BEGIN) in await world.rows()
    await world.pool.execute("DELETE FROM reading")
    await world.pool.execute(
        "INSERT INTO dirty_interval (bucket, meter_ids) VALUES ($1, $2)", BEGIN, list(world.ids.values())
    )
    await world.compute()
    assert ("screw", BEGIN) not in await world.rows()


async def test_a_quarter_hour_whose_readings_retention_has_dropped_keeps_its_row(world: World) -> None:
    await world.write(world.screw(-600, 3000))
    await world.compute()
    before = await world.rows()
    await world.pool.execute("DELETE FROM reading WHERE time < $1", BEGIN + QUARTER)
    kept_from = BEGIN + QUARTER
    await world.pool.execute("INSERT INTO retention_horizon (tier, kept_from) VALUES ('raw', $1)", kept_from)
    await world.pool.execute(
        "INSERT INTO dirty_asset_quarter (asset_id, bucket) SELECT asset_id, bucket FROM asset_15m"
    )
    await world.compute()
    assert await world.rows() == before
    assert await world.pool.fetchval("SELECT count(*) FROM dirty_asset_quarter WHERE bucket = $1", BEGIN) == 0


async def test_assets_whose_meters_change_are_computed_anew_for_the_last_day(world: World) -> None:
    await world.compute()
    await world.pool.execute("DELETE FROM dirty_asset_quarter")
    await sync_plant(world.pool, world.loaded.plant, world.loaded.profiles)
    assert await world.pool.fetchval("SELECT count(*) FROM dirty_asset_quarter") == 0
    kept = tuple(each for each in world.loaded.plant.meters if each.key != "screw-controller")
    fewer = world.loaded.plant.model_copy(update={"meters": kept})
    await sync_plant(world.pool, fewer, world.loaded.profiles)
    marked = await world.pool.fetch("SELECT DISTINCT key FROM dirty_asset_quarter JOIN asset USING (asset_id)")
    assert [row["key"] for row in marked] == ["screw"]
    gaps = await world.pool.fetch(
        "SELECT input FROM kpi_gap JOIN asset USING (asset_id) WHERE key = 'screw' ORDER BY 1"
    )
    assert [row["input"] for row in gaps] == ["air_nm3", "loaded_h", "running_h"]


async def test_columns_of_the_table_are_the_inputs_of_the_registry(world: World) -> None:
    rows = await world.pool.fetch("SELECT column_name FROM information_schema.columns WHERE table_name = 'asset_15m'")
    names = {row["column_name"] for row in rows} - {"bucket", "asset_id", "computed_at"}
    assert names == {column for name in STORED_INPUTS for column in (name, f"{name}_coverage")}
