from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsd.errors import Fault, PlantError
from emsd.plant.loader import LoadedPlant, load_plant
from emsd.plant.mqtt_connection import MqttConnection
from emsd.plant.profile import Profile
from emsd.plant.profiles import load_profiles, read_profiles
from emsd.plant.source import Where
from emsd.plant.yaml_source import read_yaml

EXAMPLE = Path(__file__).parents[2] / "config" / "plant.example.yaml"
CASES = Path(__file__).parent / "cases"
ENVIRON = {"EMSD_TEST_SECRET": "hunter2", "EMSD_TEST_EMPTY": ""}
OWN_PROFILE = (
    "profile: {name}\nkind: generic\nmanufacturer: any\nmodel: {model}\nsource: [made up]\n"
    "modbus:\n  points:\n    - {{quantity: active_power_kw, address: 0, type: f32}}\n"
)


@pytest.fixture(scope="module")
def example() -> LoadedPlant:
    return load_plant(EXAMPLE, environ={})


def test_the_example_plant_loads_with_the_shipped_profiles_and_without_warnings(example: LoadedPlant) -> None:
    assert example.warnings == ()
    assert len(example.plant.meters) == 25
    assert {meter.profile for meter in example.plant.meters} <= example.profiles.keys()
    assert sum(isinstance(c, MqttConnection) for c in example.plant.connections) == 1
    factors = [(each.method, each.valid_from.year) for each in example.plant.carbon_factors]
    assert factors == [("location", year) for year in (2021, 2022, 2023)] + [("residual", 2022), ("residual", 2023)]


def test_unset_variables_with_an_empty_default_leave_optional_fields_out(example: LoadedPlant) -> None:
    broker = example.connections_by_key["broker"]
    assert isinstance(broker, MqttConnection)
    assert (broker.username, broker.password) == (None, None)


def test_secrets_come_from_the_environment_and_stay_hidden() -> None:
    environ = {"EMSD_MQTT_PASSWORD": "00123", "EMSD_ONCALL_URL": "json://user:hunter2@host"}
    loaded = load_plant(EXAMPLE, environ=environ)
    broker = loaded.connections_by_key["broker"]
    assert isinstance(broker, MqttConnection)
    assert broker.password is not None
    assert broker.password.get_secret_value() == "00123"
    assert loaded.plant.notification_targets[0].url.get_secret_value() == environ["EMSD_ONCALL_URL"]
    assert "hunter2" not in repr(loaded)


def test_only_the_incomer_has_no_energy_meter_upstream(example: LoadedPlant) -> None:
    energy = [meter for meter in example.plant.meters if example.measures_energy(meter)]
    assert len(energy) == 13
    assert [meter.key for meter in energy if meter.parent is None] == ["incomer"]


def test_stage_and_rated_power_are_inherited(example: LoadedPlant) -> None:
    assert example.stage_of_area("air-handling") == "array"
    assert example.stage_of_area("roof") is None
    assert example.stage_of_area("evaporation-hall") == "evaporation"
    assert example.rated_power_kw(example.meters_by_key["cleanroom-mau"]) == 500
    assert example.rated_power_kw(example.meters_by_key["weather-pyranometer"]) is None


def test_an_alarm_of_an_asset_kind_watches_the_meters_that_deliver_its_quantity(example: LoadedPlant) -> None:
    alarms = {alarm.key: alarm for alarm in example.plant.alarms}
    watched = example.meters_of_alarm(alarms["compressed-air-pressure-low"])
    assert [meter.key for meter in watched] == ["compressor-1-controller", "compressor-2-controller"]
    stale = {meter.key for meter in example.meters_of_alarm(alarms["energy-meter-stale"])}
    assert stale == {meter.key for meter in example.plant.meters if example.measures_energy(meter)}


def test_meters_of_a_connection_and_an_asset_come_in_order(example: LoadedPlant) -> None:
    assert [m.unit_id for m in example.meters_of_connection("substation")] == [1, 2, 3]
    assert [m.key for m in example.meters_of_asset("cleanroom")] == ["cleanroom-feeder", "cleanroom-climate"]


def test_csv_rows_become_meters_with_absent_cells_left_out(stock_profiles: Mapping[str, Profile]) -> None:
    loaded = load_plant(CASES / "good_csv" / "plant.yaml", environ=ENVIRON, profiles=stock_profiles)
    spare = loaded.meters_by_key["m-4"]
    assert (spare.name, spare.unit_id, spare.parent, spare.poll_interval_s) == ("Meter 4, spare", 4, None, 1.0)


def test_csv_from_excel_with_semicolons_and_decimal_commas(stock_profiles: Mapping[str, Profile]) -> None:
    path = CASES / "good_csv_semicolons_and_decimal_commas" / "plant.yaml"
    meter = load_plant(path, environ=ENVIRON, profiles=stock_profiles).meters_by_key["m-3"]
    assert (meter.name, meter.poll_interval_s, meter.rated_power_kw) == ("Zähler 3", 2.5, 37.5)


def test_merged_entries_and_variables_reach_the_plant(stock_profiles: Mapping[str, Profile]) -> None:
    path = CASES / "good_anchors_merges_and_variables" / "plant.yaml"
    loaded = load_plant(path, environ=ENVIRON, profiles=stock_profiles)
    second, gateway, broker = loaded.meters_by_key["second"], *loaded.plant.connections
    assert (second.name, second.unit_id) == ("Main", 5)
    assert getattr(gateway, "port", None) == 1502
    assert isinstance(broker, MqttConnection)
    assert (broker.username, broker.client_id) == (None, "${x}")


def test_a_later_folders_profile_replaces_an_earlier_one_with_a_note(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.yaml").write_text(OWN_PROFILE.format(name="own", model=folder))
    library = read_profiles([tmp_path / "one", tmp_path / "two"])
    assert load_profiles([tmp_path / "one", tmp_path / "two"])["own"].model == "two"
    expected = f"profile own replaces that of {tmp_path}/one/own.yaml; rename it if that is not meant"
    assert [str(note) for note in library.notes] == [f"{tmp_path}/two/own.yaml: {expected}"]


def test_all_faults_of_all_profiles_are_raised_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(OWN_PROFILE.format(name="Not A Name", model="x"))
    (tmp_path / "b.yaml").write_text(OWN_PROFILE.format(name="b", model="x").replace("f32", "f31"))
    with pytest.raises(PlantError) as caught:
        load_profiles([tmp_path, tmp_path / "nowhere"])
    assert [(Path(fault.file).name, fault.line) for fault in caught.value.faults] == [
        ("a.yaml", 1), ("b.yaml", 8), ("nowhere", None),
    ]  # fmt: skip


def test_a_thousand_meters_from_csv_load(
    tmp_path: Path, stock_profiles: Mapping[str, Profile], record_property: Callable[[str, object], None]
) -> None:
    text = (CASES / "good_plain" / "plant.yaml").read_text()
    gateways = "".join(f"  - {{key: g{n}, kind: modbus_tcp, host: 10.0.1.{n}}}\n" for n in range(5))
    text = text.replace("  - {key: broker,", gateways + "  - {key: broker,") + "meters_csv: [meters.csv]\n"
    (tmp_path / "plant.yaml").write_text(text)
    rows = [
        f"m-{n},Meter {n},press,feeder_meter,g{n // 200},{n % 200 + 1},{'main' if n < 10 else f'm-{n % 10}'},1,5"
        for n in range(1000)
    ]
    header = "key,name,asset,profile,connection,unit_id,parent,poll_interval_s,rated_power_kw"
    (tmp_path / "meters.csv").write_text("\n".join([header, *rows]))
    began = time.process_time()
    loaded = load_plant(tmp_path / "plant.yaml", environ=ENVIRON, profiles=stock_profiles)
    record_property("cpu_s_for_1000_meters", time.process_time() - began)
    assert len(loaded.plant.meters) == 1003
    assert [meter.key for meter in loaded.plant.meters if meter.parent is None] == ["main", "climate"]


PIECES = (
    "", " ", "\n", "\t", "- ", ": ", "[", "]", "{", "}", "'", '"', "#", "&a ", "*a", "!x ", "${X}", "${", "$${", "~",
    "null", "true", "-1", "0", "1e400", ".nan", "99999999999999999999", "2024-02-30", "2024-01-01T00:00:00Z", "[[]]",
    "{a: b}", "<<: *a", "---\n", "\x00", "\x07", "\ufeff", "\u2028", "电", "key: incomer", "kind: {}", "kind: [mqtt]",
    "9" * 5000,
)  # fmt: skip


def mutated(text: str, seed: int) -> str:
    """Return the text after one to four cuts, insertions, replacements or swaps of lines."""
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text))
        lines = text.splitlines(keepends=True)
        row = chance.randrange(len(lines))
        match chance.randrange(6):
            case 0:
                text = text[:at] + chance.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[at + chance.randint(1, 30) :]
            case 2:
                del lines[row]
                text = "".join(lines)
            case 3:
                lines.insert(row, chance.choice(lines))
                text = "".join(lines)
            case 4:
                before, colon, _ = lines[row].partition(": ")
                lines[row] = f"{before}{colon or ': '}{chance.choice(PIECES)}\n"
                text = "".join(lines)
            case _:
                text = text[:at] + chance.choice(PIECES) + text[at + chance.randint(1, 8) :]
        text = text or "x"
    return text


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_whatever_is_written_the_plant_loads_or_its_faults_are_said(
    seed: int, tmp_path_factory: pytest.TempPathFactory, example: LoadedPlant
) -> None:
    folder = tmp_path_factory.mktemp("mutated")
    spoil_list = seed % 4 == 0
    listed = (EXAMPLE.parent / "meters.example.csv").read_text()
    written = EXAMPLE.read_text()
    (folder / "meters.example.csv").write_text(mutated(listed, seed) if spoil_list else listed)
    (folder / "plant.yaml").write_text(written if spoil_list else mutated(written, seed))
    faults: tuple[Fault, ...] | None = None
    try:
        load_plant(folder / "plant.yaml", environ={}, profiles=example.profiles)
    except PlantError as error:
        faults = error.faults
    assert faults is None or (faults and all(fault.file.startswith(str(folder)) for fault in faults))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["main", "mqtt", "CN"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["key", "kind", "name", "x"]), inner),
    max_leaves=4,
)


def replaced(node: Any, where: Where, value: object) -> Any:
    """Return the data with what stands at `where` replaced; unchanged when nothing stands there any more."""
    if not where:
        return value
    if isinstance(node, dict) and where[0] in node:
        return {**node, where[0]: replaced(node[where[0]], where[1:], value)}
    if isinstance(node, list) and isinstance(where[0], int) and where[0] < len(node):
        return [replaced(each, where[1:], value) if index == where[0] else each for index, each in enumerate(node)]
    return node


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_whatever_stands_in_the_place_of_a_value_its_faults_are_said(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, example: LoadedPlant
) -> None:
    source, _ = read_yaml(EXAMPLE, environ={})
    document = json.loads(json.dumps(source.data, default=date.isoformat))
    del document["meters_csv"]
    for where in data.draw(st.lists(st.sampled_from(sorted(source.places, key=repr)), min_size=1, max_size=3)):
        document = replaced(document, where, data.draw(VALUES))
    path = tmp_path_factory.mktemp("replaced") / "plant.yaml"
    path.write_text(json.dumps(document))  # JSON is YAML
    faults: tuple[Fault, ...] | None = None
    try:
        load_plant(path, environ={}, profiles=example.profiles)
    except PlantError as error:
        faults = error.faults
    assert faults is None or (faults and all(fault.line == 1 for fault in faults))
