"""Quarter hours to slots: the fewest stretches of time in which nothing changes that a ledger multiplies with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from emsd.energy.carbon import CarbonFactor
from emsd.energy.ledger.exact import exact
from emsd.energy.ledger.inputs import FactorColumn, FactorUse, Month
from emsd.energy.series import BUCKET_15M_US, US_PER_HOUR, TimeArray, ceil_us, datetime_to_us
from emsd.energy.windows import local_day_bounds

__all__ = ["FactorGrid", "HourlyFactor", "factor_column", "factor_grid", "local_months", "slot_starts", "slot_sums"]


@dataclass(frozen=True, slots=True)
class HourlyFactor:
    """A factor [kg/kWh] of [begins_at, ends_at), both on quarter hours; of several the highest version counts."""

    begins_at: datetime
    ends_at: datetime
    kg_per_kwh: Decimal
    version: int
    source: str


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


def factor_grid(
    edges_us: TimeArray, factors: Sequence[CarbonFactor], hours: Sequence[HourlyFactor], region: str, method: str
) -> FactorGrid:
    """Return the factor of every quarter hour: the hourly one where there is one, else the one of the period.

    Of several the highest version counts, among equal versions the one that is valid since latest. A validity that does
    not begin on a quarter hour counts from the next one.
    """
    uses: list[FactorUse] = []
    entries: list[tuple[int, Decimal]] = []
    entry = np.full(edges_us.size - 1, -1, dtype=np.int64)
    for factor in sorted(factors, key=lambda each: (each.version, each.valid_from)):
        kg = exact(factor.kg_per_kwh)
        uses.append(_period_use(factor, kg))
        entry[_places(edges_us, factor.valid_from, factor.valid_to)] = len(entries)
        entries.append((len(uses) - 1, kg))
    by_series: dict[tuple[int, str], list[HourlyFactor]] = {}
    for hour in sorted(hours, key=lambda each: (each.version, each.begins_at)):
        by_series.setdefault((hour.version, hour.source), []).append(hour)
    for (version, source), of_series in sorted(by_series.items(), key=lambda each: each[0][0]):
        uses.append(_hour_use(of_series, version, source, region, method))
        for hour in of_series:
            entry[_places(edges_us, hour.begins_at, hour.ends_at)] = len(entries)
            entries.append((len(uses) - 1, hour.kg_per_kwh))
    return FactorGrid(tuple(uses), tuple(entries), entry)


def _places(edges_us: TimeArray, from_: datetime, to: datetime | None) -> slice:
    first = np.searchsorted(edges_us, ceil_us(datetime_to_us(from_), BUCKET_15M_US))
    last = edges_us.size if to is None else np.searchsorted(edges_us, ceil_us(datetime_to_us(to), BUCKET_15M_US))
    return slice(int(first), int(last))


def _period_use(factor: CarbonFactor, kg: Decimal) -> FactorUse:
    return FactorUse(
        region=factor.region,
        method=factor.method,
        resolution="period",
        version=factor.version,
        source=factor.source,
        valid_from=factor.valid_from,
        valid_to=factor.valid_to,
        kg_per_kwh=kg,
    )


def _hour_use(of_series: Sequence[HourlyFactor], version: int, source: str, region: str, method: str) -> FactorUse:
    return FactorUse(
        region=region,
        method=method,
        resolution="hour",
        version=version,
        source=source,
        valid_from=min(each.begins_at for each in of_series),
        valid_to=max(each.ends_at for each in of_series),
        kg_per_kwh=None,
    )


def slot_starts(
    edges_us: TimeArray, grids: Iterable[FactorGrid], cuts: Iterable[datetime], *, hourly: bool
) -> TimeArray:
    """Return the places, int64[s], of the quarter hours at which a slot begins; the first is 0."""
    begins = np.zeros(edges_us.size - 1, dtype=bool)
    begins[:1] = True
    for grid in grids:
        begins[1:] |= grid.entry[1:] != grid.entry[:-1]
    if hourly:
        begins |= edges_us[:-1] % US_PER_HOUR == 0
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


def slot_sums(values: NDArray[np.float64], starts: TimeArray) -> tuple[Decimal | None, ...]:
    """Return the sum of the known values of each slot; None where none is known."""
    known = ~np.isnan(values)
    sums = np.add.reduceat(np.where(known, values, 0.0), starts)
    counts = np.add.reduceat(known.astype(np.int64), starts)
    return tuple(exact(total) if count else None for total, count in zip(sums.tolist(), counts.tolist(), strict=True))
