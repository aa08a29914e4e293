from __future__ import annotations

import numpy as np
import pytest

from simulator.machines import UNLOADED_SHARE, chiller_cooling, compressor_cycle
from simulator.noise import stream


# Computed from the published coefficients of the DOE-2 model, outside this code.
@pytest.mark.parametrize(
    ("leaving", "condenser", "part_load", "cop"),
    [(6.67, 29.4, 1.0, 5.5050), (9, 24, 0.75, 6.7491), (7, 32, 0.9, 5.3528)],
)
def test_a_chiller_has_the_efficiency_of_the_doe2_model(
    leaving: float, condenser: float, part_load: float, cop: float
) -> None:
    state = chiller_cooling(np.array([leaving]), np.array([condenser]), np.array([part_load]))
    assert state.cop[0] == pytest.approx(cop, abs=5e-5)


def test_a_compressor_loads_once_a_cycle_and_pressure_rises_just_while_it_does() -> None:
    period = 31
    knot = np.arange(100 * period)
    cycle = compressor_cycle(stream(1, "c"), knot, period, 0.7)
    starts = np.flatnonzero(np.diff(cycle.loaded) > 0)
    assert np.array_equal(starts % period, np.zeros(100))
    assert cycle.receiver.min() == 0.0
    assert cycle.receiver.max() == 1.0
    loaded = cycle.loaded[1:] == 1
    assert (np.diff(cycle.receiver)[loaded] > 0).all()
    assert (np.diff(cycle.receiver)[~loaded] < 0).all()


def test_a_compressor_is_loaded_about_as_much_as_asked_and_so_draws_its_mean_power() -> None:
    knot = np.arange(200_000)
    loaded = compressor_cycle(stream(1, "c"), knot, 37, 0.7).loaded.mean()
    assert loaded == pytest.approx(0.7, abs=0.03)
    assert 250 * (UNLOADED_SHARE + (1 - UNLOADED_SHARE) * loaded) == pytest.approx(196, abs=6)
