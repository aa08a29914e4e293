from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from emsd.errors import PlantError
from emsd.plant.loader import LoadedPlant
from simulator import SimulatedPlant
from simulator.physics.scenarios import SAVINGS, ScenarioKind
from simulator.scenario_file import load_scenarios

REPOSITORY = Path(__file__).resolve().parents[2]


def faults_of(text: str, folder: Path, loaded: LoadedPlant) -> list[str]:
    path = folder / "scenarios.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PlantError) as raised:
        load_scenarios(path, loaded.plant)
    return [str(fault).removeprefix(f"{folder}/") for fault in raised.value.faults]


def entry(**changed: str) -> str:
    fields = {"key": "one", "kind": "air_leak", "amount": "0.1", "start": "2026-03-01T00:00:00+08:00"} | changed
    return "  - {" + ", ".join(f"{name}: {value}" for name, value in fields.items()) + "}\n"


def test_the_case_study_happens_in_the_factory(factory: LoadedPlant) -> None:
    scenarios = load_scenarios(REPOSITORY / "config" / "scenarios.yaml", factory.plant)
    assert {each.kind for each in scenarios} == set(ScenarioKind)
    assert {each.kind for each in scenarios if each.kind in SAVINGS} == SAVINGS
    first = scenarios[0]
    assert (first.key, first.amount, first.grows_over_days) == ("leak-grows", 0.06, 90)
    assert first.start == datetime(2026, 2, 2, tzinfo=timezone(timedelta(hours=8)))
    physics = SimulatedPlant(
        factory.plant, factory.profiles, anchor=datetime(2026, 6, 25, tzinfo=UTC), scenarios=scenarios
    )
    assert physics.scenarios.all == scenarios


def test_each_fault_has_file_line_field_and_cure(tmp_path: Path, factory: LoadedPlant) -> None:
    text = (
        "scenarios:\n"
        + entry()
        + entry(key="two", amount="0.9")
        + entry(key="three", kind="cop_drift", asset="chiler-4")
        + entry(key="four", kind="cop_drift", asset="compressor-1")
        + entry(asset="compressor-1")
        + entry(key="six", start="2026-03-01T00:00:00")
        + entry(key="seven", end="2026-02-01T00:00:00+08:00")
        + entry(key="eight", kind="air_leek")
        + entry(key="nine", ammount="1")
        + "  - {key: ten, kind: air_leak, start: 2026-03-01T00:00:00Z}\n"
    )
    faults = faults_of(text, tmp_path, factory)
    assert [fault.split(" ", 2)[:2] for fault in faults] == [
        ["scenarios.yaml:3:", "scenarios[1].amount"],
        ["scenarios.yaml:4:", "scenarios[2].asset"],
        ["scenarios.yaml:5:", "scenarios[3].asset"],
        ["scenarios.yaml:6:", "scenarios[4].asset"],
        ["scenarios.yaml:6:", "scenarios[4].key"],
        ["scenarios.yaml:7:", "scenarios[5].start"],
        ["scenarios.yaml:8:", "scenarios[6].end"],
        ["scenarios.yaml:9:", "scenarios[7].kind"],
        ["scenarios.yaml:10:", "scenarios[8].ammount"],
        ["scenarios.yaml:11:", "scenarios[9].amount"],
    ]
    assert faults[0].endswith("0.9 is not 0..0.5; air_leak is given as share of the installed air")
    assert faults[1].endswith('"chiler-4" is not an asset; did you mean "chiller-4"?')
    assert "compressor-1 is a compressor, no chiller; cop_drift may concern chiller-1, chiller-2" in faults[2]
    assert faults[4].endswith('"one" stands in line 2 too; give each scenario its own key')
    assert "has no offset from UTC" in faults[5]
    assert "is not after its start" in faults[6]
    assert faults[7].endswith('did you mean "air_leak"?')
    assert faults[9].endswith("is missing; add it: how much, in the unit of the kind")


def test_what_the_plant_has_no_machine_for_is_refused(tmp_path: Path, factory: LoadedPlant) -> None:
    kept = tuple(asset for asset in factory.plant.assets if asset.kind not in {"chiller", "pv_inverter"})
    bare = LoadedPlant(factory.plant.model_copy(update={"assets": kept}), factory.profiles, factory.path)
    text = "scenarios:\n" + entry(kind="free_cooling") + entry(key="two", kind="soiling")
    lacks = "and the plant has none; leave the scenario out"
    assert faults_of(text, tmp_path, bare) == [
        f"scenarios.yaml:2: scenarios[0].kind free_cooling needs a chiller, {lacks}",
        f"scenarios.yaml:3: scenarios[1].kind soiling needs a pv_inverter, {lacks}",
    ]


@pytest.mark.parametrize("text", ["", "scenarios: 3\n", "scenario: []\n", "scenarios: [1]\n", "scenarios: [{]\n"])
def test_a_file_of_another_form_is_refused_with_its_name(text: str, tmp_path: Path, factory: LoadedPlant) -> None:
    assert all(fault.startswith("scenarios.yaml") for fault in faults_of(text, tmp_path, factory))
