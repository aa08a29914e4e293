"""The figure of a period: a ratio of sums over what belongs together, with coverage, or a reason."""

from __future__ import annotations

import numpy as np
import pytest

from emsd.energy.kpi import INPUTS, KPIS, InputSeries, kpi_value, kpis_of_kind
from emsd.plant.models import AssetKind

NAN = float("nan")


def amounts(*values: float, coverage: float | list[float] = 1.0, **more: object) -> InputSeries:
    value = np.array(values)
    share = np.full(value.size, coverage) if isinstance(coverage, float) else np.array(coverage)
    return InputSeries(value, np.where(np.isnan(value), 0.0, share), **more)  # type: ignore[arg-type]


def always(count: int) -> np.ndarray:
    return np.ones(count, dtype=bool)


def test_a_period_is_a_ratio_of_sums_and_not_the_mean_of_ratios() -> None:
    # A night at COP 2 with 10 kWh, a day at COP 6 with 100 kWh: 620 / 110, not 4.
    inputs = {"cooling_kwh": amounts(20.0, 600.0), "energy_kwh": amounts(10.0, 100.0)}
    found = kpi_value(KPIS["chiller_cop"], inputs, {}, always(2))
    assert found.value == pytest.approx(620 / 110)
    assert (found.coverage, found.reason) == (1.0, None)
    rt = kpi_value(KPIS["chiller_kw_per_rt"], inputs, {}, always(2))
    assert rt.value == pytest.approx(3.516853 / (620 / 110))


def test_a_quarter_hour_takes_part_only_when_every_input_is_known_for_half_of_it() -> None:
    inputs = {
        "cooling_kwh": amounts(30.0, NAN, 30.0, 5.0, coverage=[0.5, 0.0, 1.0, 0.4]),
        "energy_kwh": amounts(10.0, 100.0, 10.0, 10.0),
    }
    found = kpi_value(KPIS["chiller_cop"], inputs, {}, always(4))
    # What is known of half a quarter hour stands for all of it: 60 + 30 over 20.
    assert found.value == pytest.approx(90 / 20)
    assert found.coverage == pytest.approx((0.5 + 1.0) / 4)


def test_what_is_missing_is_named() -> None:
    inputs = {"cooling_kwh": amounts(NAN, NAN), "energy_kwh": amounts(1.0, 1.0)}
    found = kpi_value(KPIS["chiller_cop"], inputs, {}, always(2))
    assert (found.value, found.coverage) == (None, 0.0)
    assert found.reason == "no measured quarter hour of cooling_kwh"
    apart = {"cooling_kwh": amounts(1.0, NAN), "energy_kwh": amounts(NAN, 1.0)}
    assert kpi_value(KPIS["chiller_cop"], apart, {}, always(2)).reason == (
        "no measured quarter hour of all inputs at the same time"
    )
    off = {"cooling_kwh": amounts(0.0, 0.0), "energy_kwh": amounts(0.0, 0.0)}
    assert kpi_value(KPIS["chiller_cop"], off, {}, always(2)).value is None
    assert kpi_value(KPIS["chiller_cop"], off, {}, np.zeros(2, dtype=bool)).reason == "the period holds no quarter hour"


@pytest.mark.parametrize(("name", "amount"), [("chiller_cop", "cooling_kwh"), ("compressor_specific_power", "air_nm3")])
def test_what_drifts_past_a_machine_that_stands_still_is_none_of_its_work(name: str, amount: str) -> None:
    # 500 kW: 5 kW and less is standstill. The pump still runs, and two sensors differ by a tenth of a kelvin.
    inputs = {amount: amounts(600.0, 14.5, 14.5), "energy_kwh": amounts(100.0, 0.0, 1.0)}
    facts = {"standstill_kw": 5.0}
    running = kpi_value(KPIS[name], {key: amounts(value.value[0]) for key, value in inputs.items()}, facts, always(1))
    whole = kpi_value(KPIS[name], inputs, facts, always(3))
    assert (whole.value, whole.coverage) == (running.value, 1.0)
    still = kpi_value(KPIS[name], inputs, facts, np.array([False, True, True]))
    assert (still.value, still.reason) == (None, "the machine stood still")
    # At 2 % of its power it works, if badly; where meters are too coarse to tell, nothing is left out.
    least = {amount: amounts(3.0), "energy_kwh": amounts(2.5)}
    assert kpi_value(KPIS[name], least, facts, always(1)).value is not None
    assert kpi_value(KPIS[name], inputs, {}, always(3)).value != running.value
    # A quarter hour whose electricity is not known is asked for, and missing.
    gap = {amount: amounts(600.0, 600.0), "energy_kwh": amounts(100.0, NAN)}
    assert kpi_value(KPIS[name], gap, facts, always(2)).coverage == 0.5


def test_a_compressor_that_was_off_in_idle_times_says_nothing_of_leaks() -> None:
    off = kpi_value(KPIS["compressor_leak"], {"loaded_h": amounts(0.0, 0.0)}, {}, always(2))
    assert (off.value, off.coverage) == (None, 1.0)
    assert off.reason is not None
    never_off = kpi_value(KPIS["compressor_leak"], {"loaded_h": amounts(0.25, 0.25)}, {}, always(2))
    assert never_off.value == pytest.approx(100.0), "all that it delivers"


def test_at_night_there_is_no_performance_ratio_and_the_reason_is_the_dark() -> None:
    inputs = {"yield_kwh": amounts(0.0, 0.0), "irradiation_kwh_m2": amounts(-0.0003, 0.0049)}
    found = kpi_value(KPIS["pv_performance_ratio"], inputs, {"peak_power_kwp": 100.0}, always(2))
    assert (found.value, found.reason) == (None, "the sun did not shine")
    # 20 W/m2 for a quarter hour are 5 Wh/m2: from there on it is day (IEC 61724-1).
    dawn = inputs | {"irradiation_kwh_m2": amounts(0.0, 0.005), "yield_kwh": amounts(0.0, 0.4)}
    assert kpi_value(KPIS["pv_performance_ratio"], dawn, {"peak_power_kwp": 100.0}, always(2)).value == pytest.approx(
        0.8
    )


def test_leaks_are_estimated_in_idle_times_only_and_not_from_coarse_counters() -> None:
    inputs = {"loaded_h": amounts(0.25, 0.05, 0.02, 0.25)}
    idle = np.array([False, True, True, False])
    found = kpi_value(KPIS["compressor_leak"], inputs, {}, idle)
    assert found.value == pytest.approx(100 * 0.07 / 0.5)
    assert found.coverage == 1.0
    assert kpi_value(KPIS["compressor_leak"], inputs, {"hours_count_h": 1.0}, idle).value is None
    assert "idle" in str(kpi_value(KPIS["compressor_leak"], inputs, {}, np.zeros(4, dtype=bool)).reason)


def test_the_night_lowers_no_coverage_of_a_performance_ratio() -> None:
    inputs = {
        "yield_kwh": amounts(NAN, 10.0, 20.0, NAN),
        "irradiation_kwh_m2": amounts(0.0, 0.1, 0.2, 0.004),
    }
    found = kpi_value(KPIS["pv_performance_ratio"], inputs, {"peak_power_kwp": 125.0}, always(4))
    assert found.value == pytest.approx(30 / 125 / 0.3)
    assert found.coverage == 1.0


def test_a_specific_yield_takes_all_that_was_counted() -> None:
    given = amounts(5.0, 1.0, NAN, coverage=[1.0, 0.2, 0.0], counted=np.array([5.0, 7.0, NAN]))
    found = kpi_value(KPIS["pv_specific_yield"], {"yield_kwh": given}, {"peak_power_kwp": 4.0}, always(3))
    assert found.value == pytest.approx(12 / 4)
    assert found.coverage == pytest.approx(1.2 / 3)


def test_unbalance_is_the_value_that_95_percent_stay_below_and_is_not_scaled() -> None:
    values = amounts(*np.linspace(0, 1, 101), coverage=0.8, is_amount=False)
    found = kpi_value(KPIS["voltage_unbalance"], {"voltage_unbalance_percent": values}, {}, always(101))
    assert found.value == pytest.approx(0.95)
    assert found.coverage == pytest.approx(0.8)


def test_power_factor_load_factor_and_power_density() -> None:
    inputs = {"energy_kwh": amounts(400.0, 600.0), "reactive_kvarh": amounts(200.0, 300.0)}
    assert kpi_value(KPIS["power_factor"], inputs, {}, always(2)).value == pytest.approx(0.894427)
    assert kpi_value(KPIS["load_factor"], inputs, {}, always(2)).value == pytest.approx(100 * 500 / 600)
    found = kpi_value(KPIS["cleanroom_power_density"], inputs, {"floor_area_m2": 4000.0}, always(2))
    assert found.value == pytest.approx(1000 / 0.5 / 4000 * 1000)


def test_hour_counters_tell_a_load_ratio_from_ten_counts_on() -> None:
    inputs = {"loaded_h": amounts(*[0.2] * 44), "running_h": amounts(*[0.25] * 44)}
    assert kpi_value(KPIS["compressor_load_ratio"], inputs, {"hours_count_h": 1.0}, always(44)).value == pytest.approx(
        80
    )
    assert (
        kpi_value(
            KPIS["compressor_load_ratio"], inputs, {"hours_count_h": 1.0}, always(44)[:44] & (np.arange(44) < 36)
        ).value
        is None
    )


def test_the_registry_is_whole() -> None:
    kinds = {kind.value for kind in AssetKind}
    for definition in KPIS.values():
        assert set(definition.asset_kinds) <= kinds
        assert set(definition.inputs) <= INPUTS.keys()
        assert all((definition.title, definition.unit, definition.formula, definition.source))
    assert {kind for kind in kinds if not kpis_of_kind(kind)} == {"weather_station"}
