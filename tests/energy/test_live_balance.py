"""Live residual and deviation: over windows in which a count is small, and nothing said where too little is known."""

from __future__ import annotations

import numpy as np
import pytest

from emsd.energy.balance import BusEnergy, balance
from emsd.energy.live_balance import (
    LARGEST_DEVIATION_PERCENT,
    CounterAndPower,
    LiveResidual,
    live_deviation_percent,
    live_residual,
)
from tests.energy.test_balance import MINUTE_US, NAN, energy


def live(
    bus: BusEnergy, child: BusEnergy, *, count_kwh: float = 0.0, slowest_poll_s: float = 1.0
) -> LiveResidual | None:
    series = balance(bus, {"child": child})
    return live_residual(series, count_kwh=count_kwh, slowest_poll_s=slowest_poll_s, width_us=MINUTE_US)


def minutes(found: LiveResidual | None) -> int | None:
    return None if found is None else found.minutes


def test_fine_counters_are_judged_by_the_minute() -> None:
    found = live(energy(*[10.0] * 59, 10.0), energy(*[9.0] * 59, 8.0))
    assert found == pytest.approx(LiveResidual(120, 20, 1))


def test_coarse_counters_are_judged_over_the_shortest_window_in_which_a_count_is_small() -> None:
    bus, child = energy(*[10.0] * 60), energy(*[9.5] * 60)
    assert [minutes(live(bus, child, count_kwh=count)) for count in (0.05, 0.2, 0.6, 2.0, 50.0)] == [1, 5, 15, 60, 60]


def test_a_residual_of_less_than_the_counters_steps_has_no_percentage() -> None:
    """600 kWh in an hour: steps of 30 kWh together are 5 %, those of 31 kWh say nothing of a residual of 5 %."""
    bus, child = energy(*[10.0] * 60), energy(*[9.5] * 60)
    assert live(bus, child, count_kwh=30.0) == pytest.approx(LiveResidual(30, 5, 60))
    assert live(bus, child, count_kwh=31.0) == LiveResidual(pytest.approx(30), None, 60)  # type: ignore[arg-type]
    assert live(energy(*[0.0] * 60), energy(*[0.0] * 60), count_kwh=1.0) == LiveResidual(0, None, 60)


def test_no_window_is_shorter_than_the_slowest_poll() -> None:
    bus, child = energy(*[10.0] * 60), energy(*[9.5] * 60)
    assert [minutes(live(bus, child, slowest_poll_s=poll)) for poll in (1, 60, 61, 600)] == [1, 1, 5, 15]


def test_a_slow_child_may_be_late_by_its_poll_interval_and_a_lost_one_makes_it_unknown() -> None:
    bus = energy(*[10.0] * 60)
    late = energy(*[9.0] * 56, *[NAN] * 4)
    assert live(bus, late, slowest_poll_s=300) == pytest.approx(LiveResidual(60, 10, 5))
    assert live(bus, late, slowest_poll_s=60) is None
    assert live(bus, energy(*[NAN] * 60)) is None


def test_minutes_that_are_measured_in_part_or_estimated_do_not_count() -> None:
    bus = energy(*[10.0] * 60)
    partly = energy(*[9.0] * 60, coverage=0.9)
    assert live(bus, partly) is None
    assert live(partly, bus) is None


def meter(
    counter: list[float], power: list[float], *, export: list[float] | None = None, samples: float = 60.0
) -> CounterAndPower:
    k = len(counter)
    taken = np.array(counter, dtype=np.float64)
    return CounterAndPower(
        import_kwh=taken,
        export_kwh=np.full(k, NAN) if export is None else np.array(export, dtype=np.float64),
        power_kw=np.array(power, dtype=np.float64),
        comparable=np.isfinite(taken),
        sample_count=np.full(k, samples),
    )


def deviation(buckets: CounterAndPower, count_kwh: float = 0.001) -> float | None:
    return live_deviation_percent(buckets, count_kwh=count_kwh, width_us=MINUTE_US, lengths=(15, 60))


def test_a_wrong_ratio_shows_as_its_percentage_of_the_counter() -> None:
    assert deviation(meter([1.0] * 60, [60.0] * 60)) == pytest.approx(0)
    assert deviation(meter([1.0] * 60, [63.0] * 60)) == pytest.approx(5)
    assert deviation(meter([1.0] * 60, [30.0] * 60)) == pytest.approx(50)
    assert deviation(meter([1.0] * 60, [-60.0] * 60, export=[0.0] * 60)) == pytest.approx(200), "a wrong sign"


def test_the_last_quarter_hour_decides_when_it_is_long_enough_for_the_count() -> None:
    power = [60.0] * 45 + [66.0] * 15
    assert deviation(meter([1.0] * 60, power)) == pytest.approx(10)
    assert deviation(meter([1.0] * 60, power), count_kwh=0.2) == pytest.approx(2.5)
    assert deviation(meter([1.0] * 60, power), count_kwh=1.0) is None


def test_too_few_samples_or_too_little_comparable_time_is_no_comparison() -> None:
    assert deviation(meter([1.0] * 60, [63.0] * 60, samples=9)) is None
    assert deviation(meter([1.0] * 60, [63.0] * 60, samples=10)) == pytest.approx(5)
    assert deviation(meter([1.0] * 10 + [NAN] * 50, [63.0] * 60)) is None


def test_a_generator_that_counts_export_only_is_compared_in_that_direction() -> None:
    nothing = [NAN] * 60
    buckets = meter(nothing, [-60.0] * 59 + [2.0], export=[1.0] * 59 + [0.0])
    at_work = CounterAndPower(
        buckets.import_kwh, buckets.export_kwh, buckets.power_kw, np.ones(60, dtype=np.bool_), buckets.sample_count
    )
    assert deviation(at_work) == pytest.approx(0)


def test_a_counter_that_stands_still_while_power_flows_is_as_wrong_as_can_be_and_one_at_rest_is_not() -> None:
    assert deviation(meter([0.0] * 60, [60.0] * 60)) == LARGEST_DEVIATION_PERCENT
    assert deviation(meter([0.0] * 60, [0.0] * 60)) is None
    assert deviation(meter([1.0] * 60, [1e6] * 60)) == LARGEST_DEVIATION_PERCENT
