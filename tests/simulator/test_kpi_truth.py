from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from emsd.cli.simulate.kpi_truth import true_kpis
from emsd.energy.kpi import KPIS
from emsd.plant.loader import LoadedPlant
from emsd.plant.models import AssetKind
from emsd.readings import instant_us
from simulator import SimulatedPlant
from simulator.kpi_truth import kpis_of_areas, kpis_of_assets

HOUR_US = 3_600_000_000
FROM_US = instant_us(datetime(2026, 7, 7, 16, tzinfo=UTC)) + 123_456_789
TO_US = FROM_US + 24 * HOUR_US
TIMES = np.arange(FROM_US, TO_US, 5_000_000, dtype=np.int64)


@pytest.fixture(scope="module")
def plant(factory: LoadedPlant) -> SimulatedPlant:
    return SimulatedPlant(factory.plant, factory.profiles, 1, anchor=datetime(2026, 7, 7, tzinfo=UTC))


def kwh(plant: SimulatedPlant, meter: str) -> float:
    true = plant.true_energy_kwh(meter, FROM_US, TO_US)
    return true.import_kwh - true.export_kwh


def advance(plant: SimulatedPlant, meter: str, counter: str) -> float:
    before, after = (plant.quantity_series(meter, np.array([at]), [counter])[counter][0] for at in (FROM_US, TO_US))
    return float(after - before)


def test_names_and_units_are_those_of_the_service(plant: SimulatedPlant) -> None:
    found = kpis_of_assets(plant, FROM_US, TO_US)
    kinds = {asset.key: asset.kind.value for asset in plant.plant.assets}
    for asset, figures in found.items():
        for name, figure in figures.items():
            assert figure.unit == KPIS[name].unit
            assert kinds[asset] in KPIS[name].asset_kinds
    assert {name for figures in found.values() for name in figures} == {
        "chiller_cop",
        "chiller_kw_per_rt",
        "compressor_specific_power",
        "compressor_load_ratio",
        "cleanroom_power_density",
        "pv_specific_yield",
        "pv_performance_ratio",
    }


def test_chillers_have_the_ratio_of_their_water_meter_to_their_feeder(plant: SimulatedPlant) -> None:
    found = kpis_of_assets(plant, FROM_US, TO_US)
    ran = [n for n in range(1, 8) if kwh(plant, f"chiller-{n}-feeder") > 0]
    assert len(ran) >= 4
    for n in ran:
        cop = advance(plant, f"chiller-{n}-water", "cooling_energy_kwh") / kwh(plant, f"chiller-{n}-feeder")
        assert 4 < cop < 8
        assert found[f"chiller-{n}"]["chiller_cop"].value == pytest.approx(cop, rel=1e-6)
        assert found[f"chiller-{n}"]["chiller_kw_per_rt"].value == pytest.approx(3.516853 / cop, rel=1e-6)


def test_compressors_have_the_ratios_of_their_meters(plant: SimulatedPlant) -> None:
    found = kpis_of_assets(plant, FROM_US, TO_US)
    shown = 0
    for n in ("1", "2", "3", "4", "5", "vsd-1", "vsd-2"):
        figures, energy = found[f"compressor-{n}"], kwh(plant, f"compressor-{n}-feeder")
        if energy == 0:
            assert {each.value for each in figures.values()} == {None}
            continue
        shown += 1
        air = advance(plant, f"compressor-{n}-flow", "air_volume_nm3")
        assert figures["compressor_specific_power"].value == pytest.approx(60 * energy / air, rel=1e-6)
        loaded, running = (
            advance(plant, f"compressor-{n}-feeder", f"{what}_hours_h") for what in ("loaded", "running")
        )
        assert figures["compressor_load_ratio"].value == pytest.approx(100 * loaded / running, rel=1e-6)
    assert shown >= 4


def test_photovoltaics_go_by_the_light_in_their_plane_without_dark_quarter_hours(plant: SimulatedPlant) -> None:
    found = kpis_of_assets(plant, FROM_US, TO_US)["pv-array-8"]
    made = plant.true_energy_kwh("pv-array-8", FROM_US, TO_US).export_kwh
    assert found["pv_specific_yield"].value == pytest.approx(made / 4200, rel=1e-9)
    light = plant.quantity_series("weather-array", TIMES, ["irradiance_poa_w_m2"])["irradiance_poa_w_m2"]
    power = -plant.power_series_kw("pv-array-8", TIMES)
    quarter = TIMES // 900_000_000
    means = {q: np.maximum(light[quarter == q], 0).mean() for q in np.unique(quarter)}
    lit = np.array([means[q] >= 20 for q in quarter])
    expected = (power[lit].mean() / 4200) / (light[lit].mean() / 1000)
    assert found["pv_performance_ratio"].value == pytest.approx(expected, rel=1e-3)
    assert 0.7 < expected < 0.95


async def test_the_formulas_of_the_service_over_the_same_physics_agree(example: LoadedPlant) -> None:
    """Two ways to the truth: exact integrals here, samples every ten seconds through the service's arithmetic there."""
    begin = instant_us(datetime(2026, 7, 7, 2, tzinfo=UTC))
    plant = SimulatedPlant(example.plant, example.profiles, 1, anchor=datetime(2026, 7, 7, tzinfo=UTC))
    ours = kpis_of_assets(plant, begin, begin + 3 * HOUR_US)
    theirs = await true_kpis(example, plant, begin, begin + 3 * HOUR_US)
    compared = set()
    for asset, figures in ours.items():
        for name, figure in figures.items():
            other = theirs[asset][name].value
            if other is not None:
                compared.add(name)
                assert figure.value == pytest.approx(other, rel=1e-3), (asset, name)
    assert {"cleanroom_power_density", "compressor_specific_power", "pv_performance_ratio"} <= compared


def test_at_night_there_is_no_performance_ratio_and_a_yield_of_0(plant: SimulatedPlant) -> None:
    night = instant_us(datetime(2026, 7, 8, 16, tzinfo=UTC))
    figures = kpis_of_assets(plant, night, night + HOUR_US)["pv-array-1"]
    assert figures["pv_performance_ratio"].value is None
    assert figures["pv_specific_yield"].value == 0.0


def test_power_density_is_mean_power_over_floor_area(plant: SimulatedPlant) -> None:
    assets, areas = kpis_of_assets(plant, FROM_US, TO_US), kpis_of_areas(plant, FROM_US, TO_US)
    assert assets["mau-4"]["cleanroom_power_density"].value == pytest.approx(kwh(plant, "mau-4") / 24 / 32, rel=1e-9)
    assert areas["offices"]["power_density"].value == pytest.approx(kwh(plant, "offices") / 24 / 22, rel=1e-9)
    # The arrays on the roof take nothing; what stands below the transformers is consumption, whoever made it.
    assert areas["roof"]["power_density"].value == pytest.approx(0.0, abs=1e-9)
    assert {each["power_density"].unit for each in areas.values()} == {"W/m2"}


def test_what_no_plate_tells_is_unknown(factory: LoadedPlant) -> None:
    without = {"rated_power_kw": None, "kpi": None}
    bare = factory.plant.model_copy(
        update={
            "areas": tuple(area.model_copy(update={"floor_area_m2": None}) for area in factory.plant.areas),
            "assets": tuple(
                asset.model_copy(update=without) if asset.kind is AssetKind.PV_INVERTER else asset
                for asset in factory.plant.assets
            ),
        }
    )
    noon = instant_us(datetime(2026, 7, 7, 4, tzinfo=UTC))
    plant = SimulatedPlant(bare, factory.profiles, 1, anchor=datetime(2026, 7, 7, tzinfo=UTC))
    found = kpis_of_assets(plant, noon, noon + HOUR_US)
    assert found["mau-4"]["cleanroom_power_density"].value is None
    assert {each.value for each in found["pv-array-1"].values()} == {None}
    assert {each["power_density"].value for each in kpis_of_areas(plant, noon, noon + HOUR_US).values()} == {None}
    with pytest.raises(ValueError, match="ends"):
        kpis_of_assets(plant, noon, noon)
