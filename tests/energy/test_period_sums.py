"""Sums by period: the plan fills the range exactly, and its figures are those of the rolling windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsd.energy.carbon import CarbonFactor
from emsd.energy.period_sums import Per, PeriodPlan, RunSums, period_edges, plan_periods, sum_periods
from emsd.energy.rollup import EnergySums, ScopeSums, plan_rollup, roll_up
from emsd.energy.series import datetime_from_us, datetime_to_us
from emsd.energy.windows import split_by_tier

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe")
]
START = datetime(2025, 12, 1, tzinfo=UTC)


def factor(kg_per_kwh: float, valid_from: datetime, valid_to: datetime | None = None) -> CarbonFactor:
    return CarbonFactor("here", "location", valid_from, valid_to, kg_per_kwh, "a test")


def bounds(plan: PeriodPlan) -> list[tuple[str, datetime, datetime]]:
    return [(run.tier, datetime_from_us(run.from_us), datetime_from_us(run.to_us)) for run in plan.runs]


def test_months_and_days_of_a_site_with_summer_time_have_their_true_length() -> None:
    begin, end = datetime(2025, 12, 31, 23, tzinfo=UTC), datetime(2026, 12, 31, 23, tzinfo=UTC)
    months = np.diff(period_edges(begin, end, "month", BERLIN)) / 3.6e9
    assert months.tolist() == [744, 672, 743, 720, 744, 720, 744, 744, 720, 745, 720, 744]
    days = np.diff(period_edges(begin, end, "day", BERLIN)) / 3.6e9
    assert days.size == 365
    assert days[(date(2026, 3, 29) - date(2026, 1, 1)).days] == 23
    assert days[(date(2026, 10, 25) - date(2026, 1, 1)).days] == 25
    assert sorted(set(days.tolist())) == [23, 24, 25]


def test_a_year_of_months_needs_few_runs_of_days() -> None:
    edges = period_edges(
        datetime(2025, 12, 31, 23, tzinfo=UTC), datetime(2026, 12, 31, 23, tzinfo=UTC), "month", BERLIN
    )
    plan = plan_periods(edges, BERLIN)
    # March and October are three runs each: before, on and after the day of another length; the one of March is the
    # 29th, so 30 and 31 follow.
    assert {run.tier for run in plan.runs} == {"1d"}
    assert len(plan.runs) == 16
    assert [run.bucket_s for run in plan.runs if run.bucket_s != 86_400] == [82_800, 90_000]


def test_a_range_off_every_edge_takes_days_then_quarters_then_minutes() -> None:
    begin, end = datetime(2026, 3, 27, 9, 7, tzinfo=UTC), datetime(2026, 3, 31, 6, 50, tzinfo=UTC)
    plan = plan_periods(period_edges(begin, end, "total", BERLIN), BERLIN)
    assert bounds(plan) == [
        ("1m", begin, datetime(2026, 3, 27, 9, 15, tzinfo=UTC)),
        ("15m", datetime(2026, 3, 27, 9, 15, tzinfo=UTC), datetime(2026, 3, 27, 23, tzinfo=UTC)),
        ("1d", datetime(2026, 3, 27, 23, tzinfo=UTC), datetime(2026, 3, 28, 23, tzinfo=UTC)),
        ("1d", datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC)),
        ("1d", datetime(2026, 3, 29, 22, tzinfo=UTC), datetime(2026, 3, 30, 22, tzinfo=UTC)),
        ("15m", datetime(2026, 3, 30, 22, tzinfo=UTC), datetime(2026, 3, 31, 6, 45, tzinfo=UTC)),
        ("1m", datetime(2026, 3, 31, 6, 45, tzinfo=UTC), end),
    ]
    assert plan.runs[3].days == (date(2026, 3, 29), date(2026, 3, 30))
    assert plan.runs[3].bucket_s == 23 * 3600


@settings(max_examples=150, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    per=st.sampled_from(["total", "month", "day", "15m"]),
    begin_minute=st.integers(0, 400 * 1440),
    length_minutes=st.integers(1, 5 * 1440),
    cut_seconds=st.lists(st.integers(0, 405 * 86_400), max_size=3),
)
def test_the_runs_partition_the_range_and_no_piece_crosses_a_period_or_a_factor(
    zone: ZoneInfo, per: Per, begin_minute: int, length_minutes: int, cut_seconds: Sequence[int]
) -> None:
    begin = START + timedelta(minutes=begin_minute)
    end = begin + timedelta(minutes=length_minutes)
    cuts = sorted({START + timedelta(seconds=each) for each in cut_seconds})
    factors = [factor(0.1 + n, at, until) for n, (at, until) in enumerate(pairwise(cuts))]
    edges = period_edges(begin, end, per, zone)
    plan = plan_periods(edges, zone, factors)
    assert plan.runs[0].from_us == datetime_to_us(begin)
    assert plan.runs[-1].to_us == datetime_to_us(end)
    assert all(one.to_us == other.from_us for one, other in pairwise(plan.runs))
    assert set(edges.tolist()) <= set(plan.piece_edges_us.tolist())
    for run in plan.runs:
        assert plan.piece_edges_us[run.piece] <= run.from_us < run.to_us <= plan.piece_edges_us[run.piece + 1]
        assert (run.to_us - run.from_us) % (run.bucket_s * 1e6) == 0
    # The same tiers that the rolling windows would take, piece by piece.
    for piece, (piece_begin, piece_end) in enumerate(pairwise(plan.piece_edges_us.tolist())):
        expected = split_by_tier(datetime_from_us(piece_begin), datetime_from_us(piece_end), zone)
        minutes = {
            tier: sum((each.to - each.from_).total_seconds() for each in expected if each.tier == tier)
            for tier in ("1m", "15m", "1d")
        }
        ours = {
            tier: sum((run.to_us - run.from_us) / 1e6 for run in plan.runs if run.piece == piece and run.tier == tier)
            for tier in minutes
        }
        assert ours == minutes


def none_is_nan(value: float | None) -> float:
    return math.nan if value is None else value


KWH = st.one_of(st.none(), st.floats(0, 1000))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), basis=st.sampled_from(["grid_import", "consumption"]), generators=st.integers(0, 2))
def test_the_figures_of_a_period_are_those_of_a_rolling_window(
    data: st.DataObject, basis: str, generators: int
) -> None:
    end = datetime(2026, 3, 29, 10, 20, tzinfo=UTC)
    factors = [
        factor(0.5, START, end - timedelta(hours=5)),
        factor(0.25, end - timedelta(hours=5), end - timedelta(hours=3)),
    ]
    windows = plan_rollup(["24h"], end, BERLIN, factors)
    atoms = [atom for tier in ("1m", "15m", "1d") for atom in windows.atoms[tier]]
    sums = {
        atom: ScopeSums(
            EnergySums(data.draw(KWH), data.draw(KWH), data.draw(st.floats(0, 10)), data.draw(st.floats(0, 500))),
            EnergySums(export_kwh=data.draw(KWH), covered_s=data.draw(st.floats(0, 500))),
        )
        for atom in atoms
    }
    (window,) = roll_up(
        windows,
        sums,
        top_count=3,
        generation_count=generators,
        factors=factors,
        basis=basis,  # type: ignore[arg-type]
    )
    plan = plan_periods(period_edges(window.from_, window.to, "total", BERLIN), BERLIN, factors)

    def of_runs(which: str, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        by_bounds = {
            (datetime_to_us(atom.from_), datetime_to_us(atom.to)): getattr(sums[atom], which) for atom in atoms
        }
        return np.array([[none_is_nan(getattr(by_bounds[run.from_us, run.to_us], name)) for run in plan.runs]])

    top, generation = (
        RunSums(*(of_runs(which, name) for name in ("import_kwh", "export_kwh", "estimated_kwh", "covered_s")))
        for which in ("top", "generation")
    )
    figures = sum_periods(
        plan,
        top,
        generation,
        top_count=np.array([3]),
        generation_count=np.array([generators]),
        basis=basis,  # type: ignore[arg-type]
    )
    for name in (
        "import_kwh", "export_kwh", "net_kwh", "generation_kwh", "consumption_kwh", "coverage", "generation_coverage",
        "estimated_share", "kg_co2", "carbon_coverage",
    ):  # fmt: skip
        assert getattr(figures, name)[0, 0] == pytest.approx(none_is_nan(getattr(window, name)), nan_ok=True), name


@pytest.mark.parametrize("seconds", [0, 30])
def test_a_range_that_is_empty_or_off_the_minute_is_refused(seconds: int) -> None:
    with pytest.raises(ValueError, match="full minute"):
        period_edges(START, START + timedelta(seconds=seconds), "day", BERLIN)
