from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from simulator.sky import Sky, clear_sky_w_m2, sun_position, wet_bulb_c

MIANYANG = (31.47, 104.68)


# pvlib 0.11, solarposition.get_solarposition (NREL SPA), apparent zenith and azimuth at 500 m.
@pytest.mark.parametrize(
    ("day", "zenith", "azimuth"), [((2024, 6, 21), 16.1146, 115.9925), ((2024, 12, 21), 56.6969, 163.6621)]
)
def test_the_sun_stands_where_the_solar_position_algorithm_of_nrel_puts_it(
    day: tuple[int, int, int], zenith: float, azimuth: float
) -> None:
    noon = datetime(*day, 12, tzinfo=timezone(timedelta(hours=8))).timestamp()
    sun = sun_position(np.array([noon]), *MIANYANG)
    assert sun.zenith[0] == pytest.approx(zenith, abs=0.03)
    assert sun.azimuth[0] == pytest.approx(azimuth, abs=0.05)


def test_clear_sky_is_dark_below_the_horizon_and_bright_above() -> None:
    light = clear_sky_w_m2(np.array([16.1146, 60.0, 89.99, 90.0, 120.0]))
    assert 950 < light[0] < 1050
    assert light[0] > light[1] > light[2] >= 0
    assert light[3] == light[4] == 0.0


# psychrolib, GetTWetBulbFromRelHum at 101325 Pa.
@pytest.mark.parametrize(("celsius", "percent", "wet"), [(35, 50, 26.1414), (30, 70, 25.5034), (10, 80, 8.2903)])
def test_wet_bulb_is_within_the_error_that_its_formula_claims(celsius: float, percent: float, wet: float) -> None:
    assert wet_bulb_c(np.array([celsius]), np.array([percent]))[0] == pytest.approx(wet, abs=0.65)


def test_summer_is_warmer_than_winter_in_either_hemisphere() -> None:
    june, december = (datetime(2026, month, 21, tzinfo=UTC).timestamp() for month in (6, 12))
    days = np.arange(0, 20 * 86_400, 3600.0)
    for latitude, warm, cold in ((31.47, june, december), (-31.47, december, june)):
        sky = Sky(1, latitude)
        assert sky.weather(warm + days).ambient_c.mean() > sky.weather(cold + days).ambient_c.mean() + 10


def test_a_year_of_sun_yields_what_plants_in_the_basin_report() -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
    light = Sky(1).weather(start + np.arange(0, 365 * 86_400, 900.0)).irradiance_w_m2
    kwh_per_m2 = light.sum() * 0.25 / 1000
    assert 850 < kwh_per_m2 < 1250  # 757 kWh/kWp at a performance ratio of 0.6 to 0.9
