"""Balance of buses: residual is what no child counted, whatever the signs, and nothing while a child is unknown."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsd.energy.balance import BusEnergy, balance, joined_total, total

NAN = float("nan")
MINUTE_US = 60_000_000


def energy(*net_kwh: float, coverage: float = 1.0, estimated: float = 0.0) -> BusEnergy:
    """One meter that counts both directions."""
    net = np.array(net_kwh, dtype=np.float64)
    known = np.isfinite(net)
    return BusEnergy(
        import_kwh=np.maximum(net, 0.0),
        export_kwh=np.maximum(-net, 0.0),
        estimated_kwh=np.where(known, estimated, 0.0),
        coverage=np.where(known, coverage, 0.0),
    )


def widths(count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.full(count, MINUTE_US, dtype=np.int64)


def test_pv_behind_the_bus_supplies_it_and_losses_are_a_share_of_all_that_came() -> None:
    # From the grid 20, from the sun 80; consumers take 70 and 25: 5 of 100 are lost.
    series = balance(energy(20), {"pv": energy(-80), "press": energy(70), "oven": energy(25)})
    assert series.residual_kwh.tolist() == [5]
    assert series.supply_kwh.tolist() == [100]
    assert series.residual_percent.tolist() == [5]
    # At noon the bus gives 30 back: 110 of sun, 75 used, 5 lost.
    noon = balance(energy(-30), {"pv": energy(-110), "press": energy(75)})
    assert (noon.measured_kwh[0], noon.children_kwh[0], noon.residual_kwh[0]) == (-30, -35, 5)
    assert noon.residual_percent[0] == pytest.approx(100 * 5 / 110)


def test_a_missing_child_makes_the_residual_unknown_and_is_named() -> None:
    series = balance(energy(10, 10, 10, 10), {"press": energy(6, NAN, 6, 6), "oven": energy(3, 3, NAN, 3)})
    assert np.isnan(series.residual_kwh).tolist() == [False, True, True, False]
    whole = total(series, widths(4))
    assert (whole.measured_kwh, whole.children_kwh, whole.residual_kwh) == (20, 18, 2)
    assert whole.residual_percent == pytest.approx(10)
    assert whole.balanced_share == 0.5
    assert whole.missing == {"press": 0.25, "oven": 0.25}
    assert whole.bus_missing_share == 0


def test_without_any_balanced_time_nothing_is_stated_and_nothing_is_zero() -> None:
    whole = total(balance(energy(NAN, 10), {"press": energy(6, NAN)}), widths(2))
    assert whole[:5] == (None, None, None, None, None)
    assert (whole.balanced_share, whole.bus_missing_share, whole.missing) == (0, 0.5, {"press": 0.5})


def test_a_bus_on_which_nothing_came_has_a_residual_in_kwh_but_no_percentage() -> None:
    series = balance(energy(0), {"press": energy(0.25)})
    assert series.residual_kwh.tolist() == [-0.25]
    assert np.isnan(series.residual_percent).all()
    assert total(series, widths(1)).residual_percent is None


def test_a_direction_that_is_not_metered_adds_nothing() -> None:
    press = BusEnergy(np.array([6.0]), np.array([NAN]), np.array([0.0]), np.array([1.0]))
    assert balance(energy(10), {"press": press}).residual_kwh.tolist() == [4]


def test_coverage_is_of_the_bus_and_of_the_worst_child_and_estimates_add_up() -> None:
    series = balance(
        energy(10, 10, coverage=0.75, estimated=1),
        {"press": energy(5, 5, coverage=0.5, estimated=2), "oven": energy(4, NAN, coverage=1.0)},
    )
    assert series.coverage.tolist() == [0.75, 0.75]
    assert series.children_coverage.tolist() == [0.5, 0.0]
    whole = total(series, widths(2))
    assert (whole.coverage, whole.children_coverage, whole.estimated_kwh) == (0.75, 0.25, 3)


def test_a_bus_without_children_is_no_bus() -> None:
    with pytest.raises(ValueError, match="at least one"):
        balance(energy(1), {})


@given(
    nets=st.lists(st.lists(st.floats(-1e4, 1e4), min_size=6, max_size=6), min_size=1, max_size=5),
    lost=st.lists(st.floats(0, 50), min_size=6, max_size=6),
    cut=st.integers(1, 5),
    gone=st.integers(0, 6),
)
def test_windows_add_up_over_any_partition_of_time(
    nets: list[list[float]], lost: list[float], cut: int, gone: int
) -> None:
    children = {str(place): energy(*each) for place, each in enumerate(nets)}
    for own in (children["0"].import_kwh, children["0"].export_kwh):
        own[gone : gone + 1] = np.nan
    bus = energy(*(sum(column) + loss for column, loss in zip(zip(*nets, strict=True), lost, strict=True)))
    whole = total(balance(bus, children), widths(6))

    def part(meter: BusEnergy, chosen: slice) -> BusEnergy:
        return BusEnergy(
            meter.import_kwh[chosen], meter.export_kwh[chosen], meter.estimated_kwh[chosen], meter.coverage[chosen]
        )

    halves = [
        total(
            balance(part(bus, at), {key: part(each, at) for key, each in children.items()}),
            widths(size),
            int(widths(6).sum()),
        )
        for at, size in ((slice(cut), cut), (slice(cut, None), 6 - cut))
    ]
    balanced_loss = sum(loss for place, loss in enumerate(lost) if place != gone)
    assert whole.residual_kwh == pytest.approx(balanced_loss, abs=1e-6)
    joined = joined_total(halves)
    for name, value in whole._asdict().items():
        assert getattr(joined, name) == pytest.approx(value, abs=1e-6), name
    assert whole.missing == pytest.approx({} if gone == 6 else {"0": 1 / 6})


def test_a_window_none_of_whose_parts_is_balanced_has_no_energy() -> None:
    unknown = energy(1)
    unknown.import_kwh[:] = np.nan
    unknown.export_kwh[:] = np.nan
    part = total(balance(energy(1), {"child": unknown}), widths(1), int(widths(2).sum()))
    found = joined_total([part, part])
    assert (found.measured_kwh, found.residual_kwh, found.residual_percent, found.balanced_share) == (
        None,
        None,
        None,
        0,
    )
    assert found.missing == {"child": 1.0}


@pytest.mark.parametrize("seed", range(20))
def test_in_a_random_tree_the_residuals_and_the_leaves_are_the_root(seed: int) -> None:
    chance = random.Random(seed)
    parents: dict[int, int] = {node: chance.randrange(node) for node in range(1, 30)}
    below: dict[int, list[int]] = {}
    for node, parent in parents.items():
        below.setdefault(parent, []).append(node)
    true_residual = {bus: np.array([chance.uniform(0, 3) for _ in range(4)]) for bus in below}
    meters: dict[int, BusEnergy] = {}
    leaves = np.zeros(4)
    for node in range(29, -1, -1):
        if node in below:
            net = true_residual[node] + sum(meters[child].net_kwh for child in below[node])
        else:
            net = np.array([chance.uniform(-40, 90) for _ in range(4)])
            leaves += net
        meters[node] = energy(*net.tolist())
    found: Mapping[int, np.ndarray[tuple[int], np.dtype[np.float64]]] = {
        bus: balance(meters[bus], {str(child): meters[child] for child in children}).residual_kwh
        for bus, children in below.items()
    }
    for bus, residual in found.items():
        assert residual == pytest.approx(true_residual[bus], abs=1e-9)
    assert sum(found.values()) + leaves == pytest.approx(meters[0].net_kwh, abs=1e-8)
