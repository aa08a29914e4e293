"""What a person reads of a changed plant: each entry that changed, with its fields, and no secret."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import SecretStr

from emsd.plant.diff import differences
from emsd.plant.loader import LoadedPlant, load_plant
from emsd.plant.models import NotificationTarget
from emsd.plant.mqtt_connection import MqttConnection

EXAMPLE = Path(__file__).parents[2] / "config" / "plant.example.yaml"


def example() -> LoadedPlant:
    return load_plant(EXAMPLE, environ={})


def changed(loaded: LoadedPlant, **update: object) -> LoadedPlant:
    return replace(loaded, plant=loaded.plant.model_copy(update=update))


def test_the_same_plant_has_no_differences() -> None:
    assert differences(example(), example()) == ()


def test_a_changed_meter_shows_its_fields_before_and_after() -> None:
    before = example()
    first, *others = before.plant.meters
    after = changed(before, meters=(first.model_copy(update={"poll_interval_s": 5.0, "unit_id": 9}), *others))
    shown = [str(change) for change in differences(before, after)]
    assert shown == [
        f"meter {first.key} changed (unit_id: {first.unit_id} -> 9; poll_interval_s: {first.poll_interval_s} -> 5.0)"
    ]


def test_added_and_removed_entries_are_named() -> None:
    before = example()
    first, *others = before.plant.meters
    added = first.model_copy(update={"key": "another"})
    after = changed(before, meters=(added, *others))
    assert {str(change) for change in differences(before, after)} == {
        "meter another added",
        f"meter {first.key} removed",
    }


def test_the_site_is_named_without_a_key() -> None:
    before = example()
    after = changed(before, site=before.plant.site.model_copy(update={"name": "Elsewhere"}))
    assert [str(change) for change in differences(before, after)] == [
        f"site changed (name: {before.plant.site.name} -> Elsewhere)"
    ]


SECTIONS = ("tariffs", "virtual_meters", "alarms", "carbon_factors", "areas", "assets", "connections", "meters")
IN_OTHERS = {"version", "meters_csv", "profile_folders"}
"""What a plant has beside its sections; entries of the lists stand among the meters and profiles."""


def test_every_section_of_a_plant_is_told_when_it_changes() -> None:
    loaded = example()
    before = changed(loaded, notification_targets=(NotificationTarget(key="oncall", url=SecretStr("json://host")),))
    told = set()
    for name in type(before.plant).model_fields.keys() - IN_OTHERS:
        value = getattr(before.plant, name)
        match name:
            case "site":
                value = value.model_copy(update={"name": "Elsewhere"})
            case "production":
                value = value.model_copy(update={"idle_times": ()})
            case "carbon":
                value = value.model_copy(update={"residual_region": "XX"})
            case _:
                assert value, f"the example has no {name}"
                value = value[1:]
        assert differences(before, changed(before, **{name: value})), name
        told.add(name)
    assert set(SECTIONS) < told


def test_production_products_and_what_a_tariff_charges_are_told_by_name() -> None:
    before = example()
    production, (tariff, *others) = before.plant.production, before.plant.tariffs
    assert production is not None
    assert tariff.demand_charge is not None
    first, price = production.products[0], tariff.demand_charge.price_per_month
    dearer = tariff.demand_charge.model_copy(update={"price_per_month": 99.0})
    after = changed(
        before,
        production=production.model_copy(
            update={"products": (first.model_copy(update={"area_m2": 9.0}), *production.products[1:]), "idle_times": ()}
        ),
        tariffs=(tariff.model_copy(update={"demand_charge": dearer, "rates": (), "power_factor": None}), *others),
        site=before.plant.site.model_copy(update={"contract_demand_kw": 1.0}),
    )
    assert [str(change) for change in differences(before, after)] == [
        f"site changed (contract_demand_kw: {before.plant.site.contract_demand_kw} -> 1.0)",
        f"tariff {tariff.key} changed (rates; demand_charge.price_per_month: {price} -> 99.0; power_factor removed)",
        "production changed (idle_times)",
        f"product {first.key} changed (area_m2: {first.area_m2} -> 9.0)",
    ]
    gone = [str(change) for change in differences(before, changed(before, production=None))]
    assert gone == ["production removed", *(f"product {each.key} removed" for each in production.products)]


def test_entries_are_told_in_the_order_of_the_document() -> None:
    before = example()
    after = changed(before, meters=())
    assert [change.key for change in differences(before, after)] == [
        *(meter.key for meter in before.plant.meters),
        *dict.fromkeys(meter.profile for meter in before.plant.meters),
    ]


def test_a_password_is_never_shown() -> None:
    before = example()
    connections = tuple(
        MqttConnection.model_validate({**each.model_dump(), "password": "hunter2"})
        if isinstance(each, MqttConnection)
        else each
        for each in before.plant.connections
    )
    (change,) = differences(before, changed(before, connections=connections))
    assert "hunter2" not in str(change)
    assert "password: absent -> (secret)" in str(change)


def test_a_profile_counts_where_a_meter_uses_it() -> None:
    before = example()
    name = before.plant.meters[0].profile
    other = before.profiles[name].model_copy(update={"model": "another model"})
    unused = next(each for each in before.profiles if each not in {meter.profile for meter in before.plant.meters})
    spare = before.profiles[unused].model_copy(update={"model": "another model"})
    after = replace(before, profiles={**before.profiles, name: other, unused: spare})
    assert [(change.kind, change.key) for change in differences(before, after)] == [("profile", name)]
