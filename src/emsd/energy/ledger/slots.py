"""Quarter hours to slots: the fewest stretches of time in which nothing changes that a ledger multiplies with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from emsd.energy.factors import CarbonFactor, FactorTimeline
from emsd.energy.ledger.exact import exact
from emsd.energy.ledger.inputs import FactorColumn, FactorUse, Month
from emsd.energy.series import BUCKET_15M_US, TimeArray, ceil_us, datetime_to_us
from emsd.energy.windows import local_day_bounds

__all__ = ["FactorGrid", "factor_column", "factor_grid", "local_months", "slot_starts"]


@dataclass(frozen=True, slots=True, eq=False)
class FactorGrid:
    """Which factor applies in each of k quarter hours: `entry` int64[k] is a place in `entries`, -1 where none is."""

    uses: tuple[FactorUse, ...]
    entries: tuple[tuple[int, Decimal], ...]
    entry: NDArray[np.int64]


def local_months(from_: datetime, to: datetime, zone: ZoneInfo) -> list[Month]:
    """Return the local months of [from_, to), the first and the last clipped to it."""
    months: list[Month] = []
    day = from_.astimezone(zone).date().replace(day=1)
    while (begin := local_day_bounds(day, zone)[0]) < to:
        following = _next_month(day)
        end = local_day_bounds(following, zone)[0]
        months.append(Month(name=f"{day:%Y-%m}", begins_at=max(begin, from_), ends_at=min(end, to)))
        day = following
    return months


def _next_month(day: date) -> date:
    return (datetime.combine(day, time()) + timedelta(days=32)).date().replace(day=1)


def factor_grid(edges_us: TimeArray, timeline: FactorTimeline) -> FactorGrid:
    """Return the factor of every quarter hour: the one that applies at its beginning.

    A series by the hour is one publication, whatever the number of its hours.
    """
    places = timeline.places_at(edges_us[:-1])
    of_series: dict[tuple[int, str], list[CarbonFactor]] = {}
    for factor in timeline:
        if factor.resolution == "hour":
            of_series.setdefault((factor.version, factor.source), []).append(factor)
    uses: list[FactorUse] = []
    use_of_series: dict[tuple[int, str], int] = {}
    entries: list[tuple[int, Decimal]] = []
    for factor in timeline:
        series = factor.version, factor.source
        if factor.resolution == "period":
            uses.append(_use([factor]))
            use = len(uses) - 1
        elif series in use_of_series:
            use = use_of_series[series]
        else:
            uses.append(_use(of_series[series]))
            use = use_of_series[series] = len(uses) - 1
        entries.append((use, exact(factor.kg_per_kwh)))
    return FactorGrid(tuple(uses), tuple(entries), places)


def _use(factors: Sequence[CarbonFactor]) -> FactorUse:
    one, ends = factors[0], [each.valid_to for each in factors if each.valid_to is not None]
    return FactorUse(
        region=one.region,
        method=one.method,
        resolution=one.resolution,
        version=one.version,
        source=one.source,
        valid_from=min(each.valid_from for each in factors),
        valid_to=max(ends, default=None),
        kg_per_kwh=exact(one.kg_per_kwh) if one.resolution == "period" else None,
    )


def slot_starts(edges_us: TimeArray, grids: Iterable[FactorGrid], cuts: Iterable[datetime]) -> TimeArray:
    """Return the places, int64[s], of the quarter hours at which a slot begins; the first is 0."""
    begins = np.zeros(edges_us.size - 1, dtype=bool)
    begins[:1] = True
    for grid in grids:
        begins[1:] |= grid.entry[1:] != grid.entry[:-1]
    for cut in cuts:
        place = int(np.searchsorted(edges_us, ceil_us(datetime_to_us(cut), BUCKET_15M_US)))
        if place < begins.size:
            begins[place] = True
    return np.flatnonzero(begins).astype(np.int64)


def factor_column(grid: FactorGrid, starts: TimeArray) -> FactorColumn:
    """Return the factor of every slot, with those of the published factors that are used."""
    entries = [None if place < 0 else grid.entries[place] for place in grid.entry[starts].tolist()]
    used = sorted({each[0] for each in entries if each is not None})
    place_of = {use: place for place, use in enumerate(used)}
    return FactorColumn(
        uses=tuple(grid.uses[use] for use in used),
        use=tuple(None if each is None else place_of[each[0]] for each in entries),
        kg_per_kwh=tuple(None if each is None else each[1] for each in entries),
    )
