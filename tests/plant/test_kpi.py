"""Which meters give the inputs of key figures: what is clear is found, what is not is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from emsd.energy.kpi import KPIS, Method
from emsd.errors import PlantError
from emsd.plant.kpi import AssetKpis, kpis_of_plant
from emsd.plant.loader import load_plant

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config" / "plant.example.yaml"


def load(tmp_path: Path, change: Any = None) -> dict[str, AssetKpis]:
    document = YAML(typ="safe").load(EXAMPLE)
    document["meters_csv"] = [str(ROOT / "config" / "meters.example.csv")]
    if change is not None:
        change(document)
    path = tmp_path / "plant.yaml"
    with path.open("w") as file:
        YAML().dump(document, file)
    return kpis_of_plant(load_plant(path, environ={}))


def asset(document: Any, key: str) -> Any:
    return next(each for each in document["assets"] if each["key"] == key)


def add_flow(document: Any, *, key: str = "chiller-1-flow", unit_id: int = 31) -> None:
    without(document, "chiller-1-water")
    document["meters"].append(
        {
            "key": key,
            "name": "Chilled water flow",
            "asset": "chiller-1",
            "profile": "twoflow_mag11",
            "connection": "chilled-water",
            "unit_id": unit_id,
        }
    )


def parts(assets: dict[str, AssetKpis], key: str, name: str) -> list[tuple[str, str]]:
    return [(part.meter, part.quantity) for part in assets[key].sources[name].parts]


def without(document: Any, *keys: str) -> None:
    document["meters"] = [each for each in document["meters"] if each["key"] not in keys]


def test_the_example_has_every_key_figure_of_its_machines(tmp_path: Path) -> None:
    assets = load(tmp_path)
    assert "weather" not in assets, "a weather station has no key figures"
    assert parts(assets, "compressor-1", "air_nm3") == [("compressor-1-flow", "air_volume_nm3")]
    assert parts(assets, "chiller-1", "energy_kwh") == [
        ("chiller-1-feeder", "energy_import_kwh"),
        ("chiller-1-feeder", "energy_export_kwh"),
    ]
    assert parts(assets, "chiller-1", "cooling_kwh") == [("chiller-1-water", "cooling_energy_kwh")]
    assert parts(assets, "chiller-2", "cooling_kwh") == [("chiller-2-water", "thermal_power_kw")]
    assert parts(assets, "pv-1", "irradiation_t25_kwh_m2") == [
        ("weather-array", "irradiance_poa_w_m2"),
        ("weather-array", "module_temperature_c"),
    ]
    assert parts(assets, "process-tools", "good_pieces") == [("tools-pieces", "good_pieces_count")]
    assert parts(assets, "incomer", "reactive_kvarh") == [
        ("incomer", "reactive_energy_import_kvarh"),
        ("incomer", "reactive_energy_export_kvarh"),
    ]
    assert assets["fan-filters"].facts["floor_area_m2"] == 3600
    assert assets["pv-1"].facts["peak_power_kwp"] == 600
    lacking = {
        (key, name)
        for key, each in assets.items()
        for name, kpi in KPIS.items()
        if kpi.asset_kinds.count(each.kind) and each.lacks(kpi)
    }
    assert lacking == {("exhaust", "power_factor")}


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    def poorer(document: Any) -> None:
        without(document, "chiller-1-water", "weather-array")

    assets = load(tmp_path, poorer)
    (reason,) = assets["chiller-1"].lacks(KPIS["chiller_cop"])
    assert reason.startswith("no meter of chiller-1 delivers")
    assert "water_flow_m3h" in reason
    assert assets["chiller-1"].lacks(KPIS["power_factor"]) == []
    assert parts(assets, "pv-1", "irradiation_kwh_m2") == [("weather-pyranometer", "irradiance_w_m2")]
    (reason,) = assets["pv-1"].lacks(KPIS["pv_performance_ratio_t25"])
    assert "module_temperature_c" in reason


def test_a_heat_meters_counter_goes_before_flow_and_temperatures(tmp_path: Path) -> None:
    source = load(tmp_path, add_flow)["chiller-1"].sources["cooling_kwh"]
    assert (source.method, source.parts[0].quantity) == (Method.COUNTER, "cooling_energy_kwh")


def test_of_two_meters_that_could_the_plant_file_decides(tmp_path: Path) -> None:
    def two(document: Any) -> None:
        add_flow(document)
        add_flow(document, key="spare-flow", unit_id=32)

    (reason,) = load(tmp_path, two)["chiller-1"].lacks(KPIS["chiller_cop"])
    assert reason.startswith(
        "chiller-1-flow and spare-flow both deliver cooling_energy_kwh; name one under kpi.inputs.cooling_kwh"
    )

    def named(document: Any) -> None:
        two(document)
        asset(document, "chiller-1")["kpi"] = {"inputs": {"cooling_kwh": ["spare-flow", "chiller-1-controller"]}}

    assert parts(load(tmp_path, named), "chiller-1", "cooling_kwh") == [("spare-flow", "cooling_energy_kwh")]


def test_power_tells_load_where_limits_are_given_and_hour_counters_elsewhere(tmp_path: Path) -> None:
    def plates(document: Any) -> None:
        asset(document, "compressor-1")["kpi"] = {"loaded_above_kw": 150, "running_above_kw": 20}
        asset(document, "compressor-2").pop("kpi", None)
        asset(document, "pv-1")["kpi"] = {"peak_power_kwp": 520, "reference": {"pv_performance_ratio": 0.8}}

    assets = load(tmp_path, plates)
    assert assets["compressor-1"].sources["loaded_h"].method is Method.LOADED_POWER
    assert parts(assets, "compressor-1", "running_h") == [("compressor-1-feeder", "active_power_kw")]
    assert "hours_count_h" not in assets["compressor-1"].facts
    assert assets["compressor-2"].sources["loaded_h"].method is Method.COUNTER
    assert assets["compressor-2"].facts["hours_count_h"] == 1.0
    assert assets["pv-1"].facts["peak_power_kwp"] == 520
    assert assets["pv-1"].reference == {"pv_performance_ratio": 0.8}


def test_only_meters_fine_enough_tell_a_machine_at_rest(tmp_path: Path) -> None:
    assets = load(tmp_path)
    assert assets["chiller-1"].facts["standstill_kw"] == assets["chiller-2"].facts["standstill_kw"] == 5.0
    assert "standstill_kw" not in assets["incomer"].facts, "no key figure asks for it"

    def small(document: Any) -> None:
        # One count of the feeder, 0.1 kWh, is four hours of 1 % of 2.5 kW.
        asset(document, "chiller-2")["rated_power_kw"] = 2.5

    assert "standstill_kw" not in load(tmp_path, small)["chiller-2"].facts


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            lambda document: asset(document, "chiller-1").update(kpi={"inputs": {"coolng_kwh": ["chiller-1-feeder"]}}),
            'assets[9].kpi.inputs.coolng_kwh is no input of a key figure; did you mean "cooling_kwh"?',
        ),
        (
            lambda document: asset(document, "chiller-1").update(kpi={"inputs": {"cooling_kwh": ["chiller-1-feder"]}}),
            'assets[9].kpi.inputs.cooling_kwh[0] "chiller-1-feder" is not among the meters; did you mean',
        ),
        (
            lambda document: asset(document, "chiller-1").update(kpi={"inputs": {"cooling_kwh": ["chiller-1-feeder"]}}),
            "assets[9].kpi.inputs.cooling_kwh[0] chiller-1-feeder delivers nothing that cooling_kwh is made of",
        ),
        (
            lambda document: asset(document, "chiller-1").update(kpi={"reference": {"load_ratio": 5.0}}),
            "assets[9].kpi.reference.load_ratio is no key figure of a chiller",
        ),
        (
            lambda document: document.update(
                production={"products": [{"key": "a", "name": "A", "area_m2": 1, "passes": {"arra": 1}}]}
            ),
            'production.products[0].passes.arra is no stage of any area; did you mean "array"?',
        ),
        (
            lambda document: document.update(
                production={
                    "products": [{"key": "a", "name": "A", "area_m2": 1, "passes": {"array": 1}}] * 2,
                }
            ),
            "production.products[1].key a is taken by",
        ),
        (
            lambda document: document.update(production={"allocation": [{"area": "rof", "by": "none"}]}),
            'production.allocation[0].area "rof" is not among the areas; did you mean "roof"?',
        ),
        (
            lambda document: document.update(production={"idle_times": [{"begin": "06:00", "end": "02:00"}]}),
            "production.idle_times[0] is inconsistent: end is not after begin",
        ),
        (
            lambda document: document.update(
                production=document["production"] | {"counters": [{"asset": "tool", "product": "panel-6-7"}]}
            ),
            'production.counters[0].asset "tool" is not among the assets',
        ),
        (
            lambda document: document["production"].update(
                counters=[{"asset": "compressor-1", "product": "panel-6-7"}]
            ),
            "production.counters[0].asset compressor-1 has no meter that delivers pieces_count; give it one",
        ),
        (
            lambda document: document["production"].update(
                counters=[{"asset": "process-tools", "product": each} for each in ("panel-6-7", "panel-13-3")]
            ),
            "production.counters[1].asset the pieces of process-tools count by",
        ),
        (
            lambda document: (
                document["meters"].append(
                    {
                        **next(each for each in document["meters"] if each["key"] == "tools-pieces"),
                        "key": "b",
                        "topic": "b",
                    }
                )
                or document["production"].update(counters=[{"asset": "process-tools", "product": "panel-6-7"}])
            ),
            "production.counters[0].asset tools-pieces and b both deliver pieces_count; name one under kpi.inputs",
        ),
        (
            lambda document: document["production"].update(allocation=[{"area": "roof", "by": "none"}] * 2),
            "production.allocation[1].area roof is spread by",
        ),
        (
            lambda document: document.update(production={"allocation": [{"area": "roof", "by": "shares"}]}),
            "production.allocation[0] is inconsistent: shares belong to by: shares",
        ),
    ],
)
def test_what_is_wrong_has_its_place_and_its_cure(tmp_path: Path, change: Any, fault: str) -> None:
    with pytest.raises(PlantError) as caught:
        load(tmp_path, change)
    assert fault in str(caught.value), str(caught.value)
