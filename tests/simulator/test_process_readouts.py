"""Heat, cold, steam, refrigerant, pulses, drives and weather: what is shown agrees with what the asset does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest

from emsd.plant.derived import DERIVED_QUANTITIES
from emsd.quantities import BY_NAME, Kind
from emsd.readings import instant_us
from simulator import SimulatedPlant
from simulator.physics.weather import Sky

START_US = instant_us(datetime(2026, 6, 3, 4, tzinfo=UTC))
HOUR_US = 3_600_000_000
CHILLER, COMPRESSOR, WEATHER = "chiller-1-controller", "compressor-1-controller", "weather-pyranometer"
FINE = START_US + np.arange(0, HOUR_US + 1, 250_000, dtype=np.int64)
"""An hour in quarters of a second."""

Series = dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]
Show = Callable[..., Series]


@pytest.fixture(scope="module")
def show(physics: SimulatedPlant) -> Show:
    def shown(meter: str, *names: str, times: np.ndarray[tuple[int], np.dtype[np.int64]] = FINE) -> Series:
        series = physics.quantity_series(meter, times, names)
        return {name: np.broadcast_to(values, times.shape) for name, values in series.items()}

    return shown


def grown(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return float(values[-1] - values[0])


@pytest.mark.parametrize("meter", [CHILLER, COMPRESSOR, "incomer", WEATHER])
def test_every_quantity_that_devices_deliver_is_shown_within_its_range_and_no_counter_ever_falls(
    show: Show, meter: str
) -> None:
    days = START_US + np.arange(0, 48 * HOUR_US, 300_000_000, dtype=np.int64)
    for name, values in show(meter, *(BY_NAME.keys() - DERIVED_QUANTITIES), times=days).items():
        quantity = BY_NAME[name]
        assert np.isfinite(values).all(), name
        assert quantity.minimum <= values.min() <= values.max() <= quantity.maximum, name
        if quantity.kind is Kind.COUNTER:
            assert (np.diff(values) >= 0).all(), name


@pytest.mark.parametrize("meter", [CHILLER, COMPRESSOR])
def test_thermal_power_is_flow_times_heat_capacity_times_temperature_difference(show: Show, meter: str) -> None:
    got = show(meter, "thermal_power_kw", "water_flow_m3h", "supply_temperature_c", "return_temperature_c")
    difference = np.abs(got["supply_temperature_c"] - got["return_temperature_c"])
    # 1 m3/h of 1000 kg/m3 is 1/3.6 kg/s; 4.186 kJ/(kg K).
    assert got["thermal_power_kw"] == pytest.approx(got["water_flow_m3h"] / 3.6 * 4.186 * difference, rel=1e-9)
    assert got["thermal_power_kw"].max() > 100


def test_a_heat_meter_in_chilled_water_shows_the_temperatures_of_the_chiller(show: Show) -> None:
    got = show(
        CHILLER,
        "supply_temperature_c",
        "return_temperature_c",
        "chilled_water_leaving_temperature_c",
        "chilled_water_entering_temperature_c",
    )
    assert np.array_equal(got["supply_temperature_c"], got["chilled_water_leaving_temperature_c"])
    assert np.array_equal(got["return_temperature_c"], got["chilled_water_entering_temperature_c"])
    heating = show(COMPRESSOR, "supply_temperature_c", "return_temperature_c")
    assert (heating["supply_temperature_c"] >= heating["return_temperature_c"]).all()


@pytest.mark.parametrize(
    ("meter", "rate", "counter"),
    [
        (CHILLER, "thermal_power_kw", "cooling_energy_kwh"),
        (COMPRESSOR, "thermal_power_kw", "heating_energy_kwh"),
        (CHILLER, "water_flow_m3h", "water_volume_m3"),
        (COMPRESSOR, "steam_flow_kgh", "steam_mass_kg"),
        (COMPRESSOR, "active_power_kw", "pulse_1_total"),
        (CHILLER, "water_flow_m3h", "pulse_2_total"),
        (COMPRESSOR, "air_flow_nm3h", "pulse_3_total"),
        (CHILLER, "thermal_power_kw", "pulse_4_total"),
    ],
)
def test_a_counter_is_the_integral_of_its_rate(show: Show, meter: str, rate: str, counter: str) -> None:
    got = show(meter, rate, counter)
    hour = float((got[rate][:-1] + got[rate][1:]).mean()) / 2
    assert hour > 0
    assert grown(got[counter]) == pytest.approx(hour, rel=1e-6)


def test_cold_and_heat_are_counted_apart(show: Show) -> None:
    assert grown(show(CHILLER, "heating_energy_kwh")["heating_energy_kwh"]) == 0.0
    assert grown(show(COMPRESSOR, "cooling_energy_kwh")["cooling_energy_kwh"]) == 0.0


def test_the_cold_of_a_chiller_is_worth_its_electricity(show: Show, physics: SimulatedPlant) -> None:
    cold = grown(show(CHILLER, "cooling_energy_kwh")["cooling_energy_kwh"])
    power = physics.true_energy_kwh("chiller-1-feeder", START_US, START_US + HOUR_US).import_kwh
    assert 4.0 < cold / power < 8.0


def test_steam_is_saturated_and_carries_the_heat(show: Show) -> None:
    got = show(
        COMPRESSOR, "thermal_power_kw", "steam_flow_kgh", "steam_pressure_bar", "steam_temperature_c", times=FINE[::40]
    )
    # IAPWS-IF97, saturated steam: 7.5 bar absolute 167.76 C, 8 bar 170.41 C and 2768.3 kJ/kg, 8.5 bar 172.94 C.
    table = np.interp(got["steam_pressure_bar"] + 1.01325, [7.5, 8.0, 8.5], [167.76, 170.41, 172.94])
    assert got["steam_temperature_c"] == pytest.approx(table, abs=0.1)
    assert got["steam_flow_kgh"] * 2768.3 / 3600 == pytest.approx(got["thermal_power_kw"])


def test_refrigerant_pressures_are_those_of_r134a_at_the_temperatures_shown(show: Show) -> None:
    names = (
        "evaporator_pressure_bar",
        "condenser_pressure_bar",
        "evaporator_refrigerant_temperature_c",
        "condenser_refrigerant_temperature_c",
        "suction_pressure_bar",
        "discharge_pressure_bar",
        "suction_temperature_c",
        "discharge_temperature_c",
        "oil_pressure_bar",
        "oil_temperature_c",
    )
    got = show(CHILLER, *names, times=FINE[::400])
    # NIST: vapour pressure of R134a [bar absolute] at 0, 10, 20, 30 and 40 C.
    celsius, bar = [0.0, 10.0, 20.0, 30.0, 40.0], np.log([2.928, 4.146, 5.717, 7.702, 10.166])
    for side in ("evaporator", "condenser"):
        vapour = np.exp(np.interp(got[f"{side}_refrigerant_temperature_c"], celsius, bar)) - 1.01325
        assert got[f"{side}_pressure_bar"] == pytest.approx(vapour, abs=0.1)
    assert (got["suction_pressure_bar"] < got["evaporator_pressure_bar"]).all()
    assert np.array_equal(got["discharge_pressure_bar"], got["condenser_pressure_bar"])
    assert (got["oil_pressure_bar"] > got["suction_pressure_bar"] + 1.5).all()
    assert (got["suction_temperature_c"] > got["evaporator_refrigerant_temperature_c"]).all()
    assert (got["discharge_temperature_c"] > got["oil_temperature_c"]).all()
    assert (got["oil_temperature_c"] > got["condenser_refrigerant_temperature_c"]).all()


def test_a_motors_current_follows_its_power_and_its_speed_its_frequency(show: Show) -> None:
    got = show(CHILLER, "motor_current_a", "motor_speed_rpm", "drive_frequency_hz", "active_power_kw", "alarm_code")
    assert got["motor_current_a"] * 400 * 3**0.5 * 0.88 / 1000 == pytest.approx(got["active_power_kw"])
    assert got["motor_speed_rpm"] == pytest.approx(got["drive_frequency_hz"] * 60 * 0.985)
    assert 25 < got["drive_frequency_hz"].min() < got["drive_frequency_hz"].max() <= 50
    assert not got["alarm_code"].any()
    assert (show(COMPRESSOR, "drive_frequency_hz")["drive_frequency_hz"] == 50.0).all()


def test_velocity_in_the_pipe_follows_the_flow(show: Show) -> None:
    got = show(COMPRESSOR, "air_flow_nm3h", "flow_velocity_m_s")
    moving = got["air_flow_nm3h"] > 0
    per_velocity = got["air_flow_nm3h"][moving] / got["flow_velocity_m_s"][moving]
    assert per_velocity == pytest.approx(per_velocity[0])
    assert got["flow_velocity_m_s"].max() == pytest.approx(30.0)


def test_all_weather_stations_of_a_site_see_one_sky(show: Show) -> None:
    names = ("wind_speed_m_s", "wind_direction_deg", "air_pressure_hpa", "irradiance_poa_w_m2")
    here, there = (show(meter, *names, times=FINE[::400]) for meter in (WEATHER, "pv-1-inverter"))
    for name in names:
        assert np.array_equal(here[name], there[name]), name
    assert here["wind_speed_m_s"].std() > 0.05
    light = show(WEATHER, "irradiance_w_m2", times=FINE[::400])["irradiance_w_m2"]
    assert light.min() > 0
    gain = here["irradiance_poa_w_m2"] / light
    assert 0.85 < gain.min() < gain.max() < 1.2  # a roof that leans 10 degrees, in June


def test_rain_gauges_count_what_falls(physics: SimulatedPlant) -> None:
    week = START_US + np.arange(0, 7 * 24 * HOUR_US, 10_000_000, dtype=np.int64)
    counted = physics.quantity_series(WEATHER, week, ("rain_mm",))["rain_mm"]
    falling = Sky(1, physics.plant.site.latitude or 0.0, physics.plant.site.longitude or 0.0).weather(week / 1e6)
    assert grown(counted) > 0
    assert grown(counted) == pytest.approx(falling.rain_mm_h[:-1].sum() * 10 / 3600, rel=1e-3)


def test_a_year_of_rain_is_what_falls_in_the_basin() -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
    rain = Sky(1).weather(start + np.arange(0, 365 * 86_400, 900.0)).rain_mm_h
    assert 700 < rain.sum() * 0.25 < 1100
    assert 0.02 < (rain > 0).mean() < 0.2
