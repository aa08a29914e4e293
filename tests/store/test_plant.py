"""The database mirrors the plant: keys keep their ids, what is gone keeps its history, factors keep their versions."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from emsd.errors import StoreError
from emsd.plant.models import Plant
from emsd.plant.profile import Profile
from emsd.store.plant import load_meters, local_midnight, sync_plant
from emsd.store.pool import Pool
from emsd.store.rolling import read_carbon_factors

PROFILES = {
    name: Profile.model_validate(
        {
            "profile": name,
            "kind": "generic",
            "manufacturer": "Example",
            "model": name,
            "source": ["example"],
            "modbus": {"points": [{"quantity": quantity, "address": 0, "type": "f32"}]},
        }
    )
    for name, quantity in (("power", "active_power_kw"), ("climate", "room_temperature_c"))
}


def plant(*meters: dict[str, Any], number: int = 1, factors: tuple[dict[str, Any], ...] = (), **site: Any) -> Plant:
    return Plant.model_validate(
        {
            "site": {"number": number, "name": "Works", "time_zone": "Europe/Berlin", "carbon_region": "DE"} | site,
            "carbon_factors": factors,
            "areas": [
                {"key": "line", "name": "Line 1", "parent": "hall"},
                {"key": "hall", "name": "Hall", "parent": "works", "stage": "utilities", "floor_area_m2": 900},
                {"key": "works", "name": "Works"},
                {"key": "room", "name": "Room", "parent": "line", "stage": "cleanroom"},
            ],
            "assets": [
                {"key": "incomer", "name": "Incomer", "kind": "incomer", "area": "works", "rated_power_kw": 5000},
                {"key": "fan", "name": "Fan", "kind": "cleanroom", "area": "room"},
                {"key": "pump", "name": "Pump", "kind": "pump", "area": "line"},
            ],
            "connections": [{"key": "bus", "host": "127.0.0.1"}],
            "meters": list(meters),
        }
    )


def meter(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "name": key, "asset": "incomer", "profile": "power", "connection": "bus", "unit_id": 1} | more


def factor(kg_per_kwh: float, **more: Any) -> dict[str, Any]:
    return {"region": "DE", "valid_from": "2026-01-01", "kg_per_kwh": kg_per_kwh, "source": "agency 2026"} | more


async def test_every_entry_is_there_with_what_it_inherits(pool: Pool) -> None:
    entries = plant(
        meter("fan-feeder", asset="fan", parent="main", rated_power_kw=40, poll_interval_s=2, max_gap_s=60),
        meter("main"),
        meter("climate", asset="fan", profile="climate", unit_id=None, topic="room/1"),
        meter("pump-feeder", asset="pump", parent="main"),
        number=12,
    )
    ids = await sync_plant(pool, entries, PROFILES)
    assert ids == {"fan-feeder": 12_000_001, "main": 12_000_002, "climate": 12_000_003, "pump-feeder": 12_000_004}
    feeder, main, climate, pump = await load_meters(pool, 12)
    assert (feeder.parent_meter_id, feeder.rated_power_kw, feeder.stage) == (main.meter_id, 40, "cleanroom")
    assert (feeder.poll_interval_s, feeder.max_gap_s, feeder.asset_kind) == (2, 60, "cleanroom")
    assert (main.rated_power_kw, main.stage, main.area_key, main.address) == (5000, None, "works", "unit 1")
    assert (climate.measures_energy, climate.address, main.measures_energy) == (False, "room/1", True)
    assert (pump.stage, pump.rated_power_kw) == ("utilities", None), "a stage is inherited from the area above"
    areas = await pool.fetch(
        "SELECT area.key, above.key AS parent FROM area LEFT JOIN area AS above ON above.area_id = area.parent_area_id"
    )
    assert dict(map(tuple, areas)) == {"line": "hall", "hall": "works", "works": None, "room": "line"}


async def test_the_same_plant_again_changes_nothing_but_the_names(pool: Pool) -> None:
    first = await sync_plant(pool, plant(meter("a"), meter("b")), PROFILES)
    again = await sync_plant(pool, plant(meter("b"), meter("a", name="New name"), name="Renamed"), PROFILES)
    assert first == again
    assert [each.name for each in await load_meters(pool, 1)] == ["New name", "b"]
    assert await pool.fetchval("SELECT name FROM site") == "Renamed"


async def test_a_removed_meter_keeps_its_id_and_a_returning_one_gets_its_own_back(pool: Pool) -> None:
    ids = await sync_plant(pool, plant(meter("a"), meter("b", parent="a")), PROFILES)
    assert await sync_plant(pool, plant(meter("a")), PROFILES) == {"a": ids["a"]}
    kept = {each.key: each.removed_at for each in await load_meters(pool, 1, include_removed=True)}
    assert [each.key for each in await load_meters(pool, 1)] == ["a"]
    assert kept["a"] is None
    assert kept["b"] is not None
    assert (await sync_plant(pool, plant(meter("a"), meter("c")), PROFILES))["c"] == ids["b"] + 1, "never reused"
    removed_at = kept["b"]
    assert {each.key: each.removed_at for each in await load_meters(pool, 1, include_removed=True)}["b"] == removed_at
    back = await sync_plant(pool, plant(meter("b"), meter("c")), PROFILES)
    assert back["b"] == ids["b"]
    [row] = [each for each in await load_meters(pool, 1) if each.key == "b"]
    assert (row.removed_at, row.parent_meter_id) == (None, None)


async def test_a_removed_area_or_asset_is_marked_and_comes_back_with_its_id(pool: Pool) -> None:
    async def entries() -> list[tuple[Any, ...]]:
        query = """SELECT key, area_id, removed_at IS NULL AS present FROM area
            UNION ALL SELECT key, asset_id, removed_at IS NULL FROM asset ORDER BY key"""
        return [tuple(row) for row in await pool.fetch(query)]

    whole = plant(meter("a"))
    await sync_plant(pool, whole, PROFILES)
    before = await entries()
    smaller = whole.model_copy(update={"areas": whole.areas[:3], "assets": (whole.assets[0], whole.assets[2])})
    await sync_plant(pool, smaller, PROFILES)
    assert await entries() == [(key, number, key not in {"room", "fan"}) for key, number, _ in before]
    await sync_plant(pool, whole, PROFILES)
    assert await entries() == before


async def test_sites_do_not_touch_each_other(pool: Pool) -> None:
    await sync_plant(pool, plant(meter("a"), number=1), PROFILES)
    assert await sync_plant(pool, plant(meter("a"), number=2), PROFILES) == {"a": 2_000_001}
    assert [each.meter_id for each in await load_meters(pool, 1)] == [1_000_001]


async def test_processes_that_write_the_plant_at_once_agree_on_ids(pool: Pool) -> None:
    entries = [meter(f"m{place}") for place in range(40)]
    results = await asyncio.gather(
        *(sync_plant(pool, plant(*(entries if turn % 2 else entries[::-1])), PROFILES) for turn in range(6))
    )
    assert all(result == results[0] for result in results)
    assert sorted(results[0].values()) == list(range(1_000_001, 1_000_041))


async def test_a_site_whose_ids_are_used_up_is_told_so_and_nothing_is_written(pool: Pool) -> None:
    await sync_plant(pool, plant(meter("a")), PROFILES)
    await pool.execute(
        "INSERT INTO meter (meter_id, site_id, asset_id, key, name, profile, connection, address, measures_energy,"
        " poll_interval_s, max_gap_s)"
        " SELECT 1499999, site_id, asset_id, 'last', name, profile, connection, address, measures_energy,"
        " poll_interval_s, max_gap_s FROM meter WHERE key = 'a'"
    )
    with pytest.raises(StoreError, match="used up"):
        await sync_plant(pool, plant(meter("a"), meter("b"), name="Never"), PROFILES)
    assert await pool.fetchval("SELECT name FROM site") == "Works"


async def test_a_revised_factor_is_a_new_version_and_an_equal_one_is_none(pool: Pool) -> None:
    async def versions() -> list[tuple[Any, ...]]:
        query = "SELECT valid_from, valid_to, kg_per_kwh, version FROM carbon_factor ORDER BY valid_from, version"
        return [tuple(row) for row in await pool.fetch(query)]

    new_year = datetime(2025, 12, 31, 23, tzinfo=UTC)
    july = datetime(2026, 6, 30, 22, tzinfo=UTC)
    for _ in range(2):
        await sync_plant(pool, plant(factors=(factor(0.35),)), PROFILES)
    assert await versions() == [(new_year, None, 0.35, 1)]
    revised = (factor(0.35, valid_to="2026-07-01"), factor(0.31, valid_from="2026-07-01"))
    for _ in range(2):
        await sync_plant(pool, plant(factors=revised), PROFILES)
    assert await versions() == [(new_year, None, 0.35, 1), (new_year, july, 0.35, 2), (july, None, 0.31, 1)]
    await sync_plant(pool, plant(factors=(factor(0.35),)), PROFILES)
    assert (await versions())[2] == (new_year, None, 0.35, 3), "a revision taken back is a revision too"


async def test_a_factor_that_left_the_file_counts_for_nothing_until_it_comes_back(pool: Pool) -> None:
    async def in_force() -> list[tuple[float, int]]:
        return [(each.kg_per_kwh, each.version) for each in await read_carbon_factors(pool, "DE")]

    both = (factor(0.35, valid_to="2026-07-01"), factor(0.31, valid_from="2026-07-01"))
    await sync_plant(pool, plant(factors=both), PROFILES)
    await sync_plant(pool, plant(factors=both[:1]), PROFILES)
    assert await in_force() == [(0.35, 1)]
    assert await pool.fetchval("SELECT count(*) FROM carbon_factor") == 2, "figures were made with it"
    await sync_plant(pool, plant(factors=both), PROFILES)
    assert await in_force() == [(0.35, 1), (0.31, 2)]


@pytest.mark.parametrize(
    ("day", "zone", "instant"),
    [
        (date(2026, 3, 29), "Europe/Berlin", datetime(2026, 3, 28, 23, tzinfo=UTC)),
        (date(2026, 3, 30), "Europe/Berlin", datetime(2026, 3, 29, 22, tzinfo=UTC)),
        (date(2026, 1, 1), "Asia/Shanghai", datetime(2025, 12, 31, 16, tzinfo=UTC)),
        (date(2023, 4, 28), "Africa/Cairo", datetime(2023, 4, 27, 22, tzinfo=UTC)),  # clocks skip 00:00 to 01:00
    ],
)
def test_a_local_day_begins_at_its_first_instant(day: date, zone: str, instant: datetime) -> None:
    assert local_midnight(day, ZoneInfo(zone)) == instant
