from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from pvlib import pvsystem

from simulator.noise import stream
from simulator.physics.day import Day
from simulator.physics.photovoltaics import pv_share
from simulator.physics.scenarios import Scenario, ScenarioKind

SOURCE = stream(1, "roof")
EARLY = datetime(2020, 1, 1, tzinfo=UTC)


def lit(day: Day, light: float, celsius: float) -> Day:
    size = day.knot.size
    changed = {"irradiance_poa_w_m2": np.full(size, light), "module_temperature_c": np.full(size, celsius)}
    return replace(day, site=dict(day.site) | changed)


def test_modules_give_what_pvwatts_says() -> None:
    assert pvsystem.pvwatts_dc(800.0, 45.0, 1000.0, -0.0035) == pytest.approx(744.0)


def test_power_falls_with_heat_by_the_coefficient(day: Callable[..., Day]) -> None:
    cold = pv_share(lit(day(), 500.0, 25.0), SOURCE, "pv", 1.0)
    for per_k, expected in ((-0.0035, 0.93), (-0.005, 0.90)):
        warm = pv_share(lit(day(), 500.0, 45.0), SOURCE, "pv", 1.0, per_k)
        # The inverter is a little less efficient at part load.
        assert warm / cold == pytest.approx(np.full(warm.size, expected), abs=0.003)


def test_a_bright_day_is_clipped_at_the_rating_and_a_dark_one_gives_nothing(day: Callable[..., Day]) -> None:
    assert (pv_share(lit(day(), 1100.0, 25.0), SOURCE, "pv", 1.2) == 1.0).all()
    assert (pv_share(lit(day(), 0.0, 5.0), SOURCE, "pv", 1.2) == 0.0).all()


@pytest.mark.parametrize("kind", [ScenarioKind.SOILING, ScenarioKind.STRING_OUTAGE])
def test_dirt_and_dead_strings_take_their_share(day: Callable[..., Day], kind: ScenarioKind) -> None:
    fault = Scenario(key="one", kind=kind, asset="pv", amount=0.25, start=EARLY)
    clean = pv_share(lit(day(), 400.0, 30.0), SOURCE, "pv", 1.0)
    faulty = pv_share(lit(day(scenarios=(fault,)), 400.0, 30.0), SOURCE, "pv", 1.0)
    assert faulty / clean == pytest.approx(np.full(clean.size, 0.75), abs=0.02)
    assert np.array_equal(pv_share(lit(day(scenarios=(fault,)), 400.0, 30.0), SOURCE, "other", 1.0), clean)
