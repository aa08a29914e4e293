"""The arithmetic of overlapping windows, without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsd.energy.carbon import CarbonFactor
from emsd.energy.rollup import EnergySums, RollupPlan, ScopeSums, plan_rollup, roll_up
from emsd.energy.windows import WINDOW_NAMES, Segment

ZONES = ["UTC", "Europe/Berlin", "Asia/Shanghai", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns"]
minutes = st.integers(0, 3 * 525_600).map(lambda n: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=n))


def factor(kg_per_kwh: float, valid_from: datetime, valid_to: datetime | None = None) -> CarbonFactor:
    return CarbonFactor("r", "location", valid_from, valid_to, kg_per_kwh, "a test")


def sums_of(plan: RollupPlan) -> dict[Segment, ScopeSums]:
    """One kilowatt-hour imported a minute, a quarter of one generated, everything measured."""
    sums = {}
    for atoms in plan.atoms.values():
        for atom in atoms:
            length_s = (atom.to - atom.from_).total_seconds()
            sums[atom] = ScopeSums(
                EnergySums(length_s / 60, None, 0.0, length_s),
                EnergySums(export_kwh=length_s / 240, covered_s=length_s),
            )
    return sums


@given(to=minutes, zone=st.sampled_from(ZONES), change=minutes)
def test_every_window_is_added_up_exactly_from_disjoint_atoms(to: datetime, zone: str, change: datetime) -> None:
    factors = [factor(0.5, datetime(2020, 1, 1, tzinfo=UTC), change), factor(0.3, change)]
    plan = plan_rollup(WINDOW_NAMES, to, ZoneInfo(zone), factors)
    for atoms in plan.atoms.values():
        for one, next_ in pairwise(atoms):
            assert one.to <= next_.from_
    windows = roll_up(plan, sums_of(plan), top_count=1, generation_count=1, factors=factors, basis="consumption")
    assert [each.name for each in windows] == list(WINDOW_NAMES)
    for window in windows:
        length = (window.to - window.from_) / timedelta(minutes=1)
        if not length:
            assert window.import_kwh is None
            continue
        assert window.import_kwh == pytest.approx(length)
        assert window.coverage == pytest.approx(1.0)
        assert window.consumption_kwh == pytest.approx(1.25 * length)
        before = min(max((change - window.from_) / timedelta(minutes=1), 0.0), length)
        assert window.kg_co2 == pytest.approx(1.25 * (before * 0.5 + (length - before) * 0.3))


def test_export_beyond_own_generation_avoids_nothing() -> None:
    to = datetime(2026, 3, 10, 12, tzinfo=UTC)
    factors = [factor(0.5, datetime(2020, 1, 1, tzinfo=UTC))]
    plan = plan_rollup(["15m"], to, ZoneInfo("UTC"), factors)
    (atom,) = plan.atoms["15m"]
    for exported, avoided in [(3.0, 3.5), (10.0, 0.0), (12.0, 0.0)]:
        sums = {atom: ScopeSums(EnergySums(100.0, exported), EnergySums(export_kwh=10.0))}
        (window,) = roll_up(plan, sums, top_count=1, generation_count=1, factors=factors, basis="grid_import")
        assert window.avoided_kg_co2 == pytest.approx(avoided)
        assert window.kg_co2 == pytest.approx(50.0)  # never less by what was avoided


def test_sums_keep_the_unknown_apart_from_zero() -> None:
    unknown, nothing, some = EnergySums(), EnergySums(import_kwh=0.0), EnergySums(import_kwh=2.0, export_kwh=0.5)
    assert (unknown + unknown).import_kwh is None
    assert (unknown + nothing).import_kwh == 0.0
    assert (unknown + some).net_kwh == 1.5
    assert unknown.net_kwh is None
    assert EnergySums(export_kwh=3.0).net_kwh == -3.0
