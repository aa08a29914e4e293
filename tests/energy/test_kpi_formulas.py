"""Formulas of key figures against numbers that can be found elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from emsd.energy.kpi import chiller, cleanroom, compressor, electrical, pv


def test_cooling_power_and_cop_of_a_chiller_after_ahri_550() -> None:
    # AHRI Standard 550/590: Q = rho V c_p dT, 500 m3/h at 5 K for 500 kW.
    cooling_kw = chiller.cooling_power_kw(500.0, 12.0, 7.0)
    assert cooling_kw == pytest.approx(2906.94, abs=0.005)
    cop = chiller.cop(cooling_kw, 500.0)
    assert cop == pytest.approx(5.8139, abs=5e-5)
    assert cop is not None
    assert chiller.KW_PER_RT / cop == pytest.approx(0.6049, abs=5e-5)
    assert chiller.cop(1.0, 0.0) is None


def test_integrated_part_load_value_after_ahri_550() -> None:
    assert chiller.iplv_cop(5.5, 6.4, 7.2, 6.0) == pytest.approx(6.703, abs=5e-4)


def test_isentropic_specific_power_of_an_ideal_gas() -> None:
    assert compressor.isentropic_specific_power(1.0, 8.0) == pytest.approx(4.7334, abs=5e-5)


def test_leak_load_and_mean_power_after_the_sourcebook_of_us_doe() -> None:
    # Improving Compressed Air System Performance, leaks: 8 minutes on load, 48 off.
    assert compressor.leak_percent(8 / 60, 48 / 60) == pytest.approx(14.286, abs=5e-4)
    assert compressor.leak_percent(0.0, 0.0) is None
    assert compressor.mean_power_kw(250.0, 0.28, 0.7) == pytest.approx(196.0)
    assert compressor.load_ratio_percent(7.0, 10.0) == pytest.approx(70.0)
    assert compressor.load_ratio_percent(0.0, 0.0) is None
    assert compressor.specific_power(100.0, 1000.0) == pytest.approx(6.0)  # 100 kW for 1,000 m3/h, 16.67 m3/min
    assert compressor.specific_power(1.0, 0.0) is None


def test_fan_law_and_power_density_of_a_cleanroom() -> None:
    assert cleanroom.fan_power_ratio(0.9) == pytest.approx(0.729)
    assert cleanroom.power_density_w_m2(720.0, 2.0, 3600.0) == pytest.approx(100.0)


def test_performance_ratio_after_iec_61724() -> None:
    # E = 100 kWh, P0 = 20 kW, H = 6 kWh/m2, Tc = 45 degC, gamma = -0.35 %/K.
    assert pv.performance_ratio(100.0, 20.0, 6.0) == pytest.approx(0.8333, abs=5e-5)
    corrected = pv.corrected_irradiance_w_m2(6.0, 45.0, -0.0035)
    assert pv.performance_ratio(100.0, 20.0, corrected) == pytest.approx(0.8961, abs=5e-5)
    assert pv.performance_ratio(0.0, 20.0, 0.0) is None
    assert pv.specific_yield(100.0, 20.0) == pytest.approx(5.0)


def test_power_factor_of_a_period() -> None:
    assert electrical.power_factor(1000.0, 500.0) == pytest.approx(0.8944, abs=5e-5)
    assert electrical.power_factor(0.0, 0.0) is None


def test_voltage_unbalance_after_nema_mg_1() -> None:
    # NEMA MG 1, 14.36: 462, 463 and 455 V.
    assert electrical.voltage_unbalance_percent(np.array([462.0, 463.0, 455.0])) == pytest.approx(1.087, abs=5e-4)
    many = electrical.voltage_unbalance_percent(
        np.array([[462.0, 400.0, 0.0], [463.0, 400.0, 0.0], [455.0, 400.0, 0.0]])
    )
    np.testing.assert_allclose(many[:2], [1.087, 0.0], atol=5e-4)
    assert np.isnan(many[2])


def test_load_factor_is_mean_over_maximum() -> None:
    assert electrical.load_factor_percent(np.array([1.0, 3.0, 4.0, 4.0])) == pytest.approx(75.0)
    assert electrical.load_factor_percent(np.array([])) is None
    assert electrical.load_factor_percent(np.array([-1.0, 0.0])) is None
