"""What a person reads of a changed plant: each entry that changed, with its fields, and no secret."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from emsd.plant.diff import differences
from emsd.plant.loader import LoadedPlant, load_plant
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
