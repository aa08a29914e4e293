from __future__ import annotations

import numpy as np
import psychrolib
import pytest

from simulator.physics.moist_air import enthalpy_kj_kg, humidity_ratio, saturation_pa, wet_bulb_c

SEA_LEVEL_PA, AT_500_M_PA = 101_325.0, 95_460.0
GRID = [
    (celsius, percent, pressure)
    for celsius in (-12.0, -3.0, 0.5, 4.0, 13.0, 21.0, 29.0, 38.0)
    for percent in (10.0, 35.0, 60.0, 85.0, 98.0)
    for pressure in (SEA_LEVEL_PA, AT_500_M_PA)
]


@pytest.fixture(autouse=True, scope="module")
def _si() -> None:
    psychrolib.SetUnitSystem(psychrolib.SI)


# psychrolib, GetTWetBulbFromRelHum at 101325 Pa.
@pytest.mark.parametrize(("celsius", "percent", "wet"), [(35, 50, 26.1414), (30, 70, 25.5034), (10, 80, 8.2903)])
def test_wet_bulb_is_that_of_published_air(celsius: float, percent: float, wet: float) -> None:
    assert wet_bulb_c(np.array([float(celsius)]), np.array([float(percent)]))[0] == pytest.approx(wet, abs=1e-3)


def test_wet_bulb_agrees_with_another_library_from_frost_to_heat() -> None:
    found = [wet_bulb_c(np.array([t]), np.array([rh]), p)[0] for t, rh, p in GRID]
    other = [psychrolib.GetTWetBulbFromRelHum(t, rh / 100, p) for t, rh, p in GRID]
    assert np.abs(np.array(found) - other).max() < 1e-3


def test_enthalpy_and_humidity_agree_with_another_library() -> None:
    for t, rh, p in GRID:
        ratio = psychrolib.GetHumRatioFromRelHum(t, rh / 100, p)
        assert humidity_ratio(np.array([t]), np.array([rh]), p)[0] == pytest.approx(ratio, rel=1e-5)
        joule = psychrolib.GetMoistAirEnthalpy(t, ratio)
        assert enthalpy_kj_kg(np.array([t]), np.array([rh]), p)[0] == pytest.approx(joule / 1000, rel=1e-5, abs=1e-3)


def test_vapour_pressure_is_continuous_where_water_freezes() -> None:
    below, above = saturation_pa(np.array([0.01, 0.0100001]))
    assert above == pytest.approx(below, rel=1e-4)
    assert below == pytest.approx(611.2, abs=0.5)


def test_saturated_air_is_its_own_wet_bulb() -> None:
    celsius = np.array([2.0, 15.0, 35.0])
    assert wet_bulb_c(celsius, np.full(3, 100.0)) == pytest.approx(celsius, abs=1e-4)
