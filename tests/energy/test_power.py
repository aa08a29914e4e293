"""Integration of power: golden numbers, signs, gaps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsd.energy import BUCKET_15M_US, US_PER_S, PowerMethod, integrate_power

QUARTERS = np.arange(5, dtype=np.int64) * BUCKET_15M_US
FIVE_WATTS = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 1000


@pytest.mark.parametrize(
    ("method", "expected_wh"),
    [
        ("trapezoid", [0.375, 0.625, 0.625, 0.375]),
        ("period_mean", [0.5, 0.75, 0.5, 0.25]),
        ("left_hold", [0.25, 0.5, 0.75, 0.5]),
    ],
)
def test_golden_rdtools_quarter_hours(method: PowerMethod, expected_wh: list[float]) -> None:
    """15-minute power 1, 2, 3, 2, 1 W.

    Instantaneous and right-labelled as in rdtools' tests of energy_from_power; left_hold is period_mean one earlier.
    """
    result = integrate_power(QUARTERS, FIVE_WATTS, method=method, max_gap_s=900)
    assert result.energy_import.energy_kwh * 1000 == pytest.approx(expected_wh)
    assert result.energy_export.energy_kwh.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(("method", "expected_kwh"), [("trapezoid", 504), ("left_hold", 0), ("period_mean", 1008)])
def test_golden_a_week_of_silence_and_then_6_kw(method: PowerMethod, expected_kwh: float) -> None:
    """Home Assistant pull request 116736: report by exception integrated by trapezoid invents 504 kWh."""
    week_s = 7 * 86_400
    times = np.array([0, week_s], dtype=np.int64) * US_PER_S
    power = np.array([0.0, 6.0])
    assert integrate_power(times, power, method=method, max_gap_s=week_s).energy_import.total_kwh == expected_kwh


def test_a_gap_longer_than_max_gap_is_not_integrated() -> None:
    times = np.array([0, 60, 121, 180], dtype=np.int64) * US_PER_S
    result = integrate_power(times, np.full(4, 60.0), method="trapezoid", max_gap_s=60)
    assert result.energy_import.start_us.tolist() == [0, 121 * US_PER_S]
    assert result.energy_import.end_us.tolist() == [60 * US_PER_S, 180 * US_PER_S]
    assert result.energy_import.energy_kwh == pytest.approx([1, 59 / 60])


def test_a_line_through_zero_is_split_into_its_two_triangles() -> None:
    """From +3 to -1 kW in an hour: 0.75 h above zero with mean 1.5 kW, 0.25 h below with mean 0.5 kW."""
    times = np.array([0, 3600], dtype=np.int64) * US_PER_S
    result = integrate_power(times, np.array([3.0, -1.0]), method="trapezoid", max_gap_s=3600)
    assert result.energy_import.energy_kwh.tolist() == [1.125]
    assert result.energy_export.energy_kwh.tolist() == [0.125]


def test_generation_is_export_and_missing_power_is_bridged_up_to_max_gap() -> None:
    times = np.array([0, 30, 60], dtype=np.int64) * US_PER_S
    power = np.array([-60.0, math.nan, -60.0])
    result = integrate_power(times, power, method="trapezoid", max_gap_s=60)
    assert result.energy_export.energy_kwh.tolist() == [1]
    assert result.energy_import.energy_kwh.tolist() == [0]
    assert integrate_power(times, power, method="trapezoid", max_gap_s=59).energy_export.energy_kwh.size == 0


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=50), st.sampled_from(["trapezoid", "left_hold"]))
def test_import_minus_export_is_the_integral(power: list[float], method: PowerMethod) -> None:
    times = np.arange(len(power), dtype=np.int64) * 60 * US_PER_S
    result = integrate_power(times, np.array(power), method=method, max_gap_s=60)
    signed = np.trapezoid(power) / 60 if method == "trapezoid" else sum(power[:-1]) / 60
    net = result.energy_import.total_kwh - result.energy_export.total_kwh
    assert net == pytest.approx(signed, rel=1e-9, abs=1e-9)
    assert (result.energy_import.energy_kwh >= 0).all()
    assert (result.energy_export.energy_kwh >= 0).all()


def test_max_gap_must_be_positive() -> None:
    with pytest.raises(ValueError, match="max_gap_s"):
        integrate_power(QUARTERS, FIVE_WATTS, method="trapezoid", max_gap_s=0)
