"""Energy of virtual meters: factors, signs, missing inputs by policy, and what is estimated stays so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsd.energy.expressions import VirtualInput, combine
from emsd.energy.series import IncrementFlag

NAN = float("nan")
MINUTE_US = 60_000_000


def source(
    factor: float, *net: float, coverage: float = 1.0, estimated: float = 0.0, power: float = NAN, flags: int = 0
) -> VirtualInput:
    k = len(net)
    return VirtualInput(
        factor,
        np.array(net, dtype=np.float64),
        np.full(k, estimated),
        np.full(k, coverage),
        np.full(k, power),
        np.full(k, flags, dtype=np.uint8),
    )


def test_energy_and_power_are_combined_with_their_factors_and_signs() -> None:
    made = combine(
        [source(1, 10, power=600), source(1, -4, power=-240), source(-0.5, 2, power=120)], "unknown", MINUTE_US
    )
    assert made.net_kwh.tolist() == [5]
    assert made.power_avg_kw.tolist() == [300]
    assert made.known_inputs.tolist() == [3]


def test_unknown_policy_knows_nothing_while_one_input_is_missing() -> None:
    made = combine([source(1, 10, 10, coverage=0.9), source(1, NAN, 5, coverage=0.6)], "unknown", MINUTE_US)
    assert np.isnan(made.net_kwh).tolist() == [True, False]
    assert made.coverage.tolist() == [0, 0.6]
    assert made.known_inputs.tolist() == [1, 2]
    assert made.flags.tolist() == [0, 0]


def test_partial_policy_adds_what_is_known_lowers_the_coverage_and_says_so() -> None:
    made = combine([source(2, 10, NAN), source(1, NAN, NAN, coverage=0.6), source(1, 3, NAN)], "partial", MINUTE_US)
    assert made.net_kwh[0] == 23
    assert np.isnan(made.net_kwh[1])
    assert made.coverage.tolist() == pytest.approx([2 / 3, 0])
    assert made.flags.tolist() == [IncrementFlag.PARTIAL, 0]


def test_estimated_energy_stays_estimated_and_is_never_more_than_the_whole() -> None:
    made = combine([source(1, 10, estimated=2), source(-1, 4, estimated=1)], "unknown", MINUTE_US)
    assert made.estimated_kwh.tolist() == [3]
    small = combine([source(1, 10, estimated=8), source(-1, 9, estimated=9)], "unknown", MINUTE_US)
    assert small.estimated_kwh.tolist() == [1]
    negative = combine([source(1, 1, estimated=1), source(-1, 4)], "unknown", MINUTE_US)
    assert (negative.net_kwh[0], negative.estimated_kwh[0]) == (-3, 1)


def test_flags_of_every_input_are_kept() -> None:
    made = combine(
        [source(1, 1, flags=IncrementFlag.RESET), source(1, 1, flags=IncrementFlag.GLITCH)], "unknown", MINUTE_US
    )
    assert made.flags.tolist() == [IncrementFlag.RESET | IncrementFlag.GLITCH]


def test_a_meter_without_power_lends_the_mean_power_of_its_energy_where_it_was_measured() -> None:
    both = combine([source(1, 10, power=580), source(1, 1)], "unknown", MINUTE_US)
    assert both.power_avg_kw.tolist() == [640]
    gap = combine([source(1, 10, power=580), source(1, 1, coverage=0.5)], "unknown", MINUTE_US)
    assert np.isnan(gap.power_avg_kw).all()


def test_an_expression_without_inputs_is_an_error_of_the_program() -> None:
    with pytest.raises(ValueError, match="at least one"):
        combine([], "unknown", MINUTE_US)


@given(
    st.lists(
        st.tuples(st.floats(-3, 3), st.lists(st.floats(-1e3, 1e3) | st.just(NAN), min_size=4, max_size=4)),
        min_size=1,
        max_size=5,
    )
)
def test_both_policies_agree_with_adding_up_by_hand(rows: list[tuple[float, list[float]]]) -> None:
    inputs = [source(factor, *net) for factor, net in rows]
    strict, partial = combine(inputs, "unknown", MINUTE_US), combine(inputs, "partial", MINUTE_US)
    for place in range(4):
        known = [factor * net[place] for factor, net in rows if net[place] == net[place]]
        complete = len(known) == len(rows)
        assert np.isfinite(strict.net_kwh[place]) == complete
        assert np.isfinite(partial.net_kwh[place]) == bool(known)
        if known:
            assert partial.net_kwh[place] == pytest.approx(sum(known), abs=1e-9)
            assert bool(partial.flags[place] & IncrementFlag.PARTIAL) == (not complete)
        if complete:
            assert strict.net_kwh[place] == partial.net_kwh[place]
