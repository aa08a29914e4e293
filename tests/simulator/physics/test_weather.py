from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from simulator.physics.moist_air import enthalpy_kj_kg, wet_bulb_c
from simulator.physics.weather import PRESSURE_HPA, Sky, Weather, sun_at

MIANYANG = (31.47, 104.68)
YEAR_S = datetime(2025, 1, 1, tzinfo=UTC).timestamp() + np.arange(0, 365 * 86_400, 900.0)


@pytest.fixture(scope="module")
def year() -> Weather:
    return Sky(1).weather(YEAR_S)


# pvlib 0.11, solarposition.get_solarposition (NREL SPA), apparent zenith and azimuth at 500 m.
@pytest.mark.parametrize(
    ("day", "zenith", "azimuth"), [((2024, 6, 21), 16.1146, 115.9925), ((2024, 12, 21), 56.6969, 163.6621)]
)
def test_the_sun_stands_where_the_solar_position_algorithm_of_nrel_puts_it(
    day: tuple[int, int, int], zenith: float, azimuth: float
) -> None:
    noon = datetime(*day, 12, tzinfo=timezone(timedelta(hours=8))).timestamp()
    sun = sun_at(np.array([noon]), *MIANYANG)
    assert sun.apparent_zenith[0] == pytest.approx(zenith, abs=1e-3)
    assert sun.azimuth[0] == pytest.approx(azimuth, abs=1e-3)


def test_it_is_dark_at_night_and_never_brighter_than_a_clear_sky_can_be(year: Weather) -> None:
    elevation = 90.0 - sun_at(YEAR_S, *MIANYANG).zenith
    assert (year.irradiance_w_m2[elevation < -1] == 0).all()
    assert (year.irradiance_poa_w_m2[elevation < -1] == 0).all()
    assert (year.irradiance_w_m2[elevation > 3] > 0).all()
    assert 850 < year.irradiance_w_m2.max() < 1100
    assert year.irradiance_poa_w_m2.max() < 1200


def test_a_year_of_sun_is_that_of_the_basin(year: Weather) -> None:
    level, plane = (light.sum() * 0.25 / 1000 for light in (year.irradiance_w_m2, year.irradiance_poa_w_m2))
    assert 850 < level < 1000  # 757 kWh/kWp a year at a performance ratio near 0.83
    assert level < plane < 1.1 * level


def test_months_are_as_warm_and_damp_as_the_climate_says(year: Weather) -> None:
    month = np.array([datetime.fromtimestamp(t, UTC).month for t in YEAR_S])
    for number, mean in ((1, 6.2), (4, 17.5), (7, 27.2), (10, 17.6)):
        found = year.ambient_c[month == number].mean()
        assert found == pytest.approx(mean, abs=1.2)
    assert 72 < year.humidity_percent.mean() < 82


def test_summer_is_warmer_than_winter_in_either_hemisphere() -> None:
    june, december = (datetime(2026, month, 21, tzinfo=UTC).timestamp() for month in (6, 12))
    days = np.arange(0, 20 * 86_400, 3600.0)
    for latitude, warm, cold in ((31.47, june, december), (-31.47, december, june)):
        sky = Sky(1, latitude)
        assert sky.weather(warm + days).ambient_c.mean() > sky.weather(cold + days).ambient_c.mean() + 10


def test_a_polar_night_is_dark_and_breaks_nothing() -> None:
    december = datetime(2026, 12, 21, tzinfo=UTC).timestamp()
    weather = Sky(1, 75.0, 20.0).weather(december + np.arange(0, 86_400, 10.0))
    assert not weather.irradiance_w_m2.any()
    assert not weather.irradiance_poa_w_m2.any()


def test_wet_bulb_and_enthalpy_are_those_of_the_temperature_and_humidity_at_the_sites_pressure() -> None:
    weather = Sky(1).weather(YEAR_S[0] + np.arange(0, 3 * 86_400, 10.0))
    air = weather.ambient_c, weather.humidity_percent, 100.0 * PRESSURE_HPA
    assert np.abs(weather.wet_bulb_c - wet_bulb_c(*air)).max() < 0.02
    assert np.abs(weather.enthalpy_kj_kg - enthalpy_kj_kg(*air)).max() < 0.1
    assert (weather.wet_bulb_c < weather.ambient_c).all()


def test_the_weather_of_an_instant_does_not_depend_on_what_else_is_asked() -> None:
    times = YEAR_S[0] + np.arange(0, 86_400, 10.0)
    whole, part = Sky(1).weather(times), Sky(1).weather(times[3000:3500])
    for name in whole._fields:
        assert getattr(part, name) == pytest.approx(getattr(whole, name)[3000:3500], abs=1e-9), name
