"""Energy and carbon of groups of meters by period: months, days or quarter hours of the site over any range.

A period is cut into pieces where the carbon factor changes, and a piece into runs: buckets of one tier side by side,
the largest tier that fits, so that a year of months is hardly more than twelve runs of days. The store adds up each
run, and `sum_periods` makes periods of the sums.

    range --period_edges--> edges --plan_periods--> PeriodPlan --store--> RunSums --sum_periods--> PeriodFigures
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby, pairwise
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from emsd.energy.carbon import CarbonFactor, factor_at, factor_cuts
from emsd.energy.rollup import CarbonBasis
from emsd.energy.series import (
    BUCKET_1M_US,
    BUCKET_15M_US,
    US_PER_S,
    FloatArray,
    TimeArray,
    bucket_edges,
    ceil_us,
    datetime_from_us,
    datetime_to_us,
    floor_us,
)
from emsd.energy.windows import Tier, local_day_bounds, local_day_edges

__all__ = ["Per", "PeriodFigures", "PeriodPlan", "Run", "RunSums", "period_edges", "plan_periods", "sum_periods"]

Per: TypeAlias = Literal["total", "month", "day", "15m"]
Counts: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Run:
    """Buckets of one tier side by side, all equally long, that together hold [from_us, to_us).

    bucket_s  length of a bucket [s]; of days 82,800, 86,400 or 90,000
    piece     number of the piece that the run lies in
    days      first local day and the day after the last; for tier 1d only
    """

    tier: Tier
    from_us: int
    to_us: int
    bucket_s: float
    piece: int
    days: tuple[date, date] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PeriodPlan:
    """What must be added up for p periods in k pieces.

    period_edges_us  int64[p + 1]
    piece_edges_us   int64[k + 1], the period edges among them
    kg_per_kwh       float64[k] [kg CO2 / kWh], NaN where no factor is valid
    runs             in order of time; every piece has at least one
    """

    period_edges_us: TimeArray
    piece_edges_us: TimeArray
    kg_per_kwh: FloatArray
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True, eq=False)
class RunSums:
    """Sums over the meters of g groups and the buckets of r runs, each float64[g, r].

    import_kwh, export_kwh  [kWh], NaN where no interval of any meter knows it
    estimated_kwh           [kWh], the part of both that was spread over gaps
    covered_s               [s], covered time of each meter, added up over the meters
    """

    import_kwh: FloatArray
    export_kwh: FloatArray
    estimated_kwh: FloatArray
    covered_s: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PeriodFigures:
    """Energy [kWh] and emissions [kg CO2] of g groups in p periods, each float64[g, p]; NaN is unknown.

    The figures mean what those of `emsd.energy.rollup.RollingWindow` do, and a test holds the two together.
    """

    import_kwh: FloatArray
    export_kwh: FloatArray
    net_kwh: FloatArray
    generation_kwh: FloatArray
    consumption_kwh: FloatArray
    coverage: FloatArray
    generation_coverage: FloatArray
    estimated_share: FloatArray
    kg_co2: FloatArray
    carbon_coverage: FloatArray


def period_edges(from_: datetime, to: datetime, per: Per, zone: ZoneInfo) -> TimeArray:
    """Return the p + 1 edges [us] of the periods of [from_, to), the first and the last cut short by the range.

    Months and days are local ones; a quarter hour of the site is one of UTC, since every zone in use is a multiple of
    15 minutes away from it. Raises ValueError when the range is empty or a bound is no full minute.
    """
    begin, end = datetime_to_us(from_), datetime_to_us(to)
    if begin >= end or begin % BUCKET_1M_US or end % BUCKET_1M_US:
        raise ValueError(f"{from_.isoformat()} to {to.isoformat()} is not one full minute after another")
    inner: list[int] | TimeArray = []
    if per == "15m":
        inner = bucket_edges(begin, end, BUCKET_15M_US)
    elif per == "day":
        inner = _day_edges(begin, end, zone)[1]
    elif per == "month":
        inner = [datetime_to_us(local_day_bounds(day, zone)[0]) for day in _month_begins(from_, to, zone)]
    inside = np.array([edge for edge in inner if begin < edge < end], dtype=np.int64)
    return np.concatenate(([begin], inside, [end])).astype(np.int64)


def plan_periods(edges_us: TimeArray, zone: ZoneInfo, factors: Sequence[CarbonFactor] = ()) -> PeriodPlan:
    """Plan the periods between p + 1 edges [us], each cut where a factor begins or ends to be valid.

    A change within a minute, the smallest interval, counts from the next full one. `factors` are of one region and one
    method.
    """
    begin, end = int(edges_us[0]), int(edges_us[-1])
    changes = factor_cuts(factors, datetime_from_us(begin), datetime_from_us(end))
    cuts = sorted({begin, *(ceil_us(datetime_to_us(change), BUCKET_1M_US) for change in changes)})
    pieces = np.union1d(edges_us, np.array([cut for cut in cuts if cut < end], dtype=np.int64))
    factor_from_cut = [factor_at(factors, datetime_from_us(cut)) for cut in cuts]
    kg_per_kwh = np.array([np.nan if each is None else each.kg_per_kwh for each in factor_from_cut])
    of_piece = np.searchsorted(np.array(cuts, dtype=np.int64), pieces[:-1], side="right") - 1
    first_day, day_edges = _day_edges(begin, end, zone)
    runs = [
        run
        for piece, (piece_begin, piece_end) in enumerate(pairwise(pieces.tolist()))
        for run in _runs(piece, piece_begin, piece_end, first_day, day_edges)
    ]
    return PeriodPlan(edges_us, pieces, kg_per_kwh[of_piece], tuple(runs))


def sum_periods(
    plan: PeriodPlan,
    top: RunSums,
    generation: RunSums,
    *,
    top_count: Counts,
    generation_count: Counts,
    basis: CarbonBasis,
) -> PeriodFigures:
    """Return the figures of every group and period from the sums of the plan's runs.

    Args:
        plan: p periods.
        top: sums of the meters that count each kilowatt-hour of a group once.
        generation: sums of the PV meters of a group.
        top_count: int64[g], how many meters are behind `top`.
        generation_count: the same for `generation`.
        basis: what is multiplied with the factor.
    """
    run_of_piece = np.searchsorted([run.piece for run in plan.runs], np.arange(plan.piece_edges_us.size - 1))
    piece_of_period = np.searchsorted(plan.piece_edges_us, plan.period_edges_us[:-1])
    run_of_period = run_of_piece[piece_of_period]
    length_s = np.diff(plan.period_edges_us)[np.newaxis, :] / US_PER_S
    imported, exported = (_known_sum(each, run_of_period) for each in (top.import_kwh, top.export_kwh))
    generated = _known_sum(generation.export_kwh, run_of_period)
    measured = _plus(imported, exported)
    estimated = np.add.reduceat(top.estimated_kwh, run_of_period, axis=1)
    if basis == "grid_import":
        kwh_of_piece = _known_sum(top.import_kwh, run_of_piece)
    else:
        kwh_of_piece = _consumption(
            _known_sum(top.import_kwh, run_of_piece),
            _known_sum(top.export_kwh, run_of_piece),
            _known_sum(generation.export_kwh, run_of_piece),
            generation_count,
        )
    kg_co2, carbon_coverage = _emissions(plan, kwh_of_piece, piece_of_period)
    return PeriodFigures(
        import_kwh=imported,
        export_kwh=exported,
        net_kwh=_net(imported, exported),
        generation_kwh=generated,
        consumption_kwh=_consumption(imported, exported, generated, generation_count),
        coverage=_coverage(top, run_of_period, top_count, length_s),
        generation_coverage=_coverage(generation, run_of_period, generation_count, length_s),
        # Where nothing was counted, nothing of it was estimated.
        estimated_share=np.where(measured == 0, 0.0, np.minimum(1.0, _share(estimated, measured))),
        kg_co2=kg_co2,
        carbon_coverage=carbon_coverage,
    )


def _month_begins(from_: datetime, to: datetime, zone: ZoneInfo) -> Iterator[date]:
    day, last = (bound.astimezone(zone).date().replace(day=1) for bound in (from_, to))
    while day <= last:
        yield day
        day = (day + timedelta(days=31)).replace(day=1)


def _day_edges(begin_us: int, end_us: int, zone: ZoneInfo) -> tuple[date, list[int]]:
    """Return the first local day that touches the range, and the edges of the days up to its end.

    Days are built from quarter hours, so where one of them began off the quarter hour there are no days.
    """
    first, last = (datetime_from_us(each).astimezone(zone).date() for each in (begin_us, end_us))
    edges: list[int] = local_day_edges(first, last + timedelta(days=1), zone).tolist()
    return first, edges if all(edge % BUCKET_15M_US == 0 for edge in edges) else []


def _runs(piece: int, begin: int, end: int, first_day: date, day_edges: Sequence[int]) -> Iterator[Run]:
    first, last = bisect_left(day_edges, begin), bisect_right(day_edges, end) - 1
    if first >= last:
        yield from _quarters_and_minutes(piece, begin, end)
        return
    yield from _quarters_and_minutes(piece, begin, day_edges[first])
    # The days of a run are equally long, so that shares of them can be added up as time.
    for length_us, numbers in groupby(range(first, last), key=lambda number: day_edges[number + 1] - day_edges[number]):
        members = list(numbers)
        days = first_day + timedelta(days=members[0]), first_day + timedelta(days=members[-1] + 1)
        yield Run("1d", day_edges[members[0]], day_edges[members[-1] + 1], length_us / US_PER_S, piece, days)
    yield from _quarters_and_minutes(piece, day_edges[last], end)


def _quarters_and_minutes(piece: int, begin: int, end: int) -> Iterator[Run]:
    first, last = ceil_us(begin, BUCKET_15M_US), floor_us(end, BUCKET_15M_US)
    if first >= last:
        parts: tuple[tuple[Tier, int, int], ...] = (("1m", begin, end),)
    else:
        parts = (("1m", begin, first), ("15m", first, last), ("1m", last, end))
    for tier, from_us, to_us in parts:
        if from_us < to_us:
            yield Run(tier, from_us, to_us, 60.0 if tier == "1m" else 900.0, piece)


def _known_sum(values: FloatArray, starts: NDArray[np.intp]) -> FloatArray:
    """Add up stretches of the last axis; unknown adds nothing, and is the sum of nothing known."""
    known = ~np.isnan(values)
    sums = np.add.reduceat(np.where(known, values, 0.0), starts, axis=1)
    return np.where(np.logical_or.reduceat(known, starts, axis=1), sums, np.nan)


def _plus(one: FloatArray, other: FloatArray) -> FloatArray:
    return np.where(np.isnan(one), other, np.where(np.isnan(other), one, one + other))


def _net(imported: FloatArray, exported: FloatArray) -> FloatArray:
    """Import less export; a direction that the meters do not count adds nothing."""
    net = np.nan_to_num(imported) - np.nan_to_num(exported)
    return np.where(np.isnan(imported) & np.isnan(exported), np.nan, net)


def _consumption(
    imported: FloatArray, exported: FloatArray, generated: FloatArray, generation_count: Counts
) -> FloatArray:
    """Net and own generation; unknown when PV meters exist but what they generated is not known."""
    net = _net(imported, exported)
    return np.where((generation_count > 0)[:, np.newaxis], net + generated, net)


def _coverage(sums: RunSums, starts: NDArray[np.intp], count: Counts, length_s: FloatArray) -> FloatArray:
    covered_s = np.add.reduceat(sums.covered_s, starts, axis=1)
    return np.minimum(1.0, _share(covered_s, count[:, np.newaxis] * length_s))


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Return part / whole, NaN where there is no whole."""
    share: FloatArray = np.full(np.broadcast(part, whole).shape, np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share


def _emissions(plan: PeriodPlan, kwh: FloatArray, starts: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
    """Return [kg] and coverage of every group and period, as `emsd.energy.carbon.emissions_kg` defines them."""
    length_s = np.diff(plan.piece_edges_us)[np.newaxis, :] / US_PER_S
    known = ~np.isnan(kwh)
    with_factor = known & ~np.isnan(plan.kg_per_kwh)[np.newaxis, :]

    def total(values: FloatArray, where: NDArray[np.bool_]) -> FloatArray:
        sums: FloatArray = np.add.reduceat(np.where(where, values, 0.0), starts, axis=1)
        return sums

    by_energy = _share(total(np.abs(kwh), with_factor), total(np.abs(kwh), known))
    by_time = _share(total(length_s, with_factor), total(length_s, known))
    coverage = np.where(np.isnan(by_energy), by_time, by_energy)
    kg = total(kwh * plan.kg_per_kwh[np.newaxis, :], with_factor)
    return np.where(coverage > 0, kg, np.nan), coverage
