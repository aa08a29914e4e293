"""From what a database holds to the inputs of a ledger: time cut into slots, sums and factors put into them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from emsd.energy.factors import CarbonMethod, FactorTimeline
from emsd.energy.ledger.activities import Activity, resolve
from emsd.energy.ledger.columns import ColumnSums
from emsd.energy.ledger.gwp import GwpSet
from emsd.energy.ledger.inputs import Instrument, LedgerInputs, Matching, MeterColumn, MeterRole, Month, Site
from emsd.energy.ledger.slots import FactorGrid, factor_column, factor_grid, local_months, slot_starts
from emsd.energy.series import TimeArray, datetime_from_us, datetime_to_us

__all__ = ["Frame", "LedgerParts", "build_inputs", "frame_of", "sums_of"]


@dataclass(frozen=True, slots=True, eq=False)
class LedgerParts:
    """What a ledger is built from, but for its meters.

    edges_us  int64[k + 1], the quarter hours that tile the period
    factors   which factor of the site's regions applies when, by method
    """

    site: Site
    gwp_set: GwpSet
    matching: Matching
    edges_us: TimeArray
    factors: Mapping[CarbonMethod, FactorTimeline]
    instruments: Sequence[Instrument]
    activities: Sequence[Activity]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The time of a ledger, cut into as few slots as its factors, months and allocations allow.

    starts  int64[n], the quarter hour at which each slot begins
    """

    months: Sequence[Month]
    location: FactorGrid
    supplier: FactorGrid
    residual: FactorGrid
    starts: TimeArray


def frame_of(parts: LedgerParts) -> Frame:
    """Return the slots into which the energy of the meters is summed."""
    from_, to = _period(parts)
    months = local_months(from_, to, ZoneInfo(parts.site.time_zone))
    grids = (_grid(parts, "location"), _grid(parts, "market"), _grid(parts, "residual"))
    cuts = [month.begins_at for month in months] + [cut for cut in _allocation_cuts(parts) if from_ < cut < to]
    starts = slot_starts(parts.edges_us, grids, cuts)
    return Frame(months, *grids, starts)


def sums_of(parts: LedgerParts, frame: Frame) -> dict[MeterRole, ColumnSums]:
    """Return what meters are added to, by their role."""
    begins_us = np.array([datetime_to_us(month.begins_at) for month in frame.months], dtype=np.int64)
    month_starts = np.searchsorted(parts.edges_us[frame.starts], begins_us)
    quarters = parts.edges_us.size - 1
    return {role: ColumnSums(quarters, frame.starts, month_starts) for role in ("grid", "generation")}


def build_inputs(
    parts: LedgerParts, frame: Frame, sums: Mapping[MeterRole, ColumnSums], meters: Iterable[MeterColumn]
) -> LedgerInputs:
    """Return the inputs of a ledger; `meters` are what `sums` said of each one that was added.

    Raises:
        ValueError: an activity cannot be computed.
    """
    from_, to = _period(parts)
    bounds_us = [*parts.edges_us[frame.starts].tolist(), int(parts.edges_us[-1])]
    return LedgerInputs(
        site=parts.site,
        period_from=from_,
        period_to=to,
        gwp_set=parts.gwp_set,
        matching=parts.matching,
        months=tuple(frame.months),
        edges=tuple(datetime_from_us(bound) for bound in bounds_us),
        grid=sums["grid"].column(),
        generation=sums["generation"].column(),
        meters=tuple(sorted(meters, key=lambda each: (each.role, each.meter_id))),
        location=factor_column(frame.location, frame.starts),
        supplier=factor_column(frame.supplier, frame.starts),
        residual=factor_column(frame.residual, frame.starts),
        instruments=tuple(parts.instruments),
        activities=tuple(resolve(activity, parts.gwp_set) for activity in parts.activities),
    )


def _period(parts: LedgerParts) -> tuple[datetime, datetime]:
    return datetime_from_us(int(parts.edges_us[0])), datetime_from_us(int(parts.edges_us[-1]))


def _grid(parts: LedgerParts, method: CarbonMethod) -> FactorGrid:
    return factor_grid(parts.edges_us, parts.factors.get(method, FactorTimeline()))


def _allocation_cuts(parts: LedgerParts) -> Iterator[datetime]:
    for instrument in parts.instruments:
        if instrument.own_pv or parts.matching == "hourly":
            yield instrument.produced_from
            yield instrument.produced_to
        for allocation in instrument.allocations:
            if allocation.kind == "retire":
                yield allocation.period_from
                yield allocation.period_to
