"""Virtual and derived meters in the mirror of the plant, and sums that count no kilowatt-hour twice because of them."""

from __future__ import annotations

from typing import Any

from emsd.plant.derived import derived_key, derived_meter_id, is_derived
from emsd.plant.models import Plant
from emsd.store.plant import load_meters, sync_plant
from emsd.store.plant_view import PlantView, read_plant_view
from emsd.store.pool import Pool
from emsd.store.scopes import meters_of_scope
from emsd.store.virtual_meters import virtual_meter_ids
from tests.store.test_plant import PROFILES, meter, plant


def with_virtual(entries: Plant, *virtual: dict[str, Any]) -> Plant:
    document = entries.model_dump(mode="json") | {
        "virtual_meters": [{"name": each["key"], "asset": "pump", **each} for each in virtual]
    }
    return Plant.model_validate(document)


def keys(view: PlantView, meter_ids: tuple[int, ...]) -> list[str]:
    return [view.meters[each].key for each in meter_ids]


async def test_virtual_and_derived_meters_have_rows_of_their_own_and_devices_keep_their_numbers(pool: Pool) -> None:
    entries = plant(
        meter("main", residual={"kind": "losses", "band_percent": [0, 3], "band_kw": [0, 40]}),
        meter("climate", profile="climate"),
        meter("fan", asset="fan", parent="main"),
    )
    ids = await sync_plant(
        pool,
        with_virtual(entries, {"key": "rest", "expression": "main - 0.98 * fan", "parent": "main", "counts": True}),
        PROFILES,
    )
    assert ids == {"main": 1_000_001, "climate": 1_000_002, "fan": 1_000_003}
    virtual = await virtual_meter_ids(pool, 1)
    assert virtual == {"rest": 1_000_004}
    assert [each.key for each in await load_meters(pool, 1)] == ["main", "climate", "fan", "rest"]
    view = await read_plant_view(pool, 1)
    rest = view.meter_by_key["rest"]
    assert (rest.kind, rest.profile, rest.address, rest.counts) == ("virtual", "virtual", "main - 0.98 * fan", True)
    assert dict(view.inputs[rest.meter_id]) == {ids["main"]: 1, ids["fan"]: -0.98}
    assert {each.key for each in view.buses[ids["main"]]} == {"fan", "rest"}
    main = view.meter_by_key["main"]
    assert (main.residual_kind, main.residual_low_percent, main.residual_high_percent) == ("losses", 0, 3)
    assert (main.residual_low_kw, main.residual_high_kw) == (0, 40)
    derived = {each.key: each for each in view.meters.values() if each.kind == "derived"}
    assert set(derived) == {derived_key(key) for key in ("main", "fan", "rest")}, "a climate sensor has no energy"
    of_main = derived[derived_key("main")]
    assert (of_main.meter_id, of_main.derived_from) == (derived_meter_id(ids["main"]), ids["main"])
    assert not of_main.measures_energy
    assert is_derived(of_main.meter_id)
    assert not is_derived(ids["main"])


async def test_what_leaves_goes_with_its_derived_meter_and_gets_its_numbers_back(pool: Pool) -> None:
    entries = plant(meter("main"), meter("fan", asset="fan", parent="main"))
    virtual = {"key": "rest", "expression": "main - fan"}
    await sync_plant(pool, with_virtual(entries, virtual), PROFILES)
    first = {each.key: each.meter_id for each in (await read_plant_view(pool, 1)).meters.values()}
    await sync_plant(pool, plant(meter("main"), meter("new", unit_id=9)), PROFILES)
    view = await read_plant_view(pool, 1)
    assert set(view.meter_by_key) == {"main", "main:derived", "new", "new:derived"}
    assert await virtual_meter_ids(pool, 1) == {}
    assert view.inputs == {}
    await sync_plant(pool, with_virtual(entries, virtual), PROFILES)
    again = {each.key: each.meter_id for each in (await read_plant_view(pool, 1)).meters.values()}
    assert again == first


async def test_views_are_no_part_of_sums_and_what_hangs_below_a_virtual_bus_counts_once(pool: Pool) -> None:
    entries = plant(
        meter("incomer-1"),
        meter("incomer-2"),
        meter("fan", asset="fan", parent="main-bus"),
        meter("pump", asset="pump", parent="main-bus"),
    )
    await sync_plant(
        pool,
        with_virtual(
            entries,
            {"key": "main-bus", "expression": "incomer-1 + incomer-2", "asset": "incomer"},
            {"key": "rest", "expression": "main-bus - fan - pump", "parent": "main-bus", "counts": True},
            {"key": "view", "expression": "fan + pump"},
        ),
        PROFILES,
    )
    view = await read_plant_view(pool, 1)
    site = meters_of_scope(view, "site", None)
    assert keys(view, site.top) == ["incomer-1", "incomer-2"]
    assert keys(view, meters_of_scope(view, "asset_kind", "pump").top) == ["pump", "rest"]
    assert keys(view, meters_of_scope(view, "asset_kind", "incomer").top) == ["incomer-1", "incomer-2"]
    assert keys(view, meters_of_scope(view, "meter", "view").top) == ["view"]
    assert keys(view, meters_of_scope(view, "meter", "main-bus").top) == ["main-bus"]
    assert meters_of_scope(view, "meter", "fan:derived").top == ()
