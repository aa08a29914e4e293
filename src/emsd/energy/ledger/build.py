"""From what a database holds to the inputs of a ledger: time cut into slots, sums and factors put into them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from emsd.energy.carbon import CarbonFactor, CarbonMethod
from emsd.energy.ledger.activities import Activity, resolve
from emsd.energy.ledger.exact import exact
from emsd.energy.ledger.gwp import GwpSet
from emsd.energy.ledger.inputs import Instrument, LedgerInputs, Matching, MeterColumn, MeterRole, Month, Site
from emsd.energy.ledger.slots import (
    FactorGrid,
    HourlyFactor,
    factor_column,
    factor_grid,
    local_months,
    slot_starts,
    slot_sums,
)
from emsd.energy.series import BUCKET_15M_US, US_PER_S, FloatArray, TimeArray, datetime_from_us

__all__ = ["Frame", "LedgerParts", "MeterEnergy", "build_inputs", "column_of", "frame_of"]


@dataclass(frozen=True, slots=True, eq=False)
class MeterEnergy:
    """Quarter hours of one meter, float64[k] each: energies [kWh], NaN where unknown, and coverage 0..1."""

    meter_id: int
    key: str
    role: MeterRole
    import_kwh: FloatArray
    export_kwh: FloatArray
    estimated_kwh: FloatArray
    coverage: FloatArray
    computed_at: datetime | None = None
    versions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class LedgerParts:
    """What a ledger is built from, but for its meters.

    edges_us  int64[k + 1], the quarter hours that tile the period
    factors   by method; `hours` likewise, for the same regions
    """

    site: Site
    gwp_set: GwpSet
    matching: Matching
    edges_us: TimeArray
    factors: Mapping[CarbonMethod, Sequence[CarbonFactor]]
    hours: Mapping[CarbonMethod, Sequence[HourlyFactor]]
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
    grids = (
        _grid(parts, "location", parts.site.carbon_region),
        _grid(parts, "market", parts.site.carbon_region),
        _grid(parts, "residual", parts.site.residual_region),
    )
    cuts = [month.begins_at for month in months] + [cut for cut in _allocation_cuts(parts) if from_ < cut < to]
    starts = slot_starts(parts.edges_us, grids, cuts, hourly=parts.matching == "hourly")
    return Frame(months, *grids, starts)


def build_inputs(parts: LedgerParts, frame: Frame, meters: Iterable[MeterColumn]) -> LedgerInputs:
    """Return the inputs of a ledger; `meters` are made by `column_of` with the frame's slots.

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
        meters=tuple(meters),
        location=factor_column(frame.location, frame.starts),
        supplier=factor_column(frame.supplier, frame.starts),
        residual=factor_column(frame.residual, frame.starts),
        instruments=tuple(parts.instruments),
        activities=tuple(resolve(activity, parts.gwp_set) for activity in parts.activities),
    )


def _period(parts: LedgerParts) -> tuple[datetime, datetime]:
    return datetime_from_us(int(parts.edges_us[0])), datetime_from_us(int(parts.edges_us[-1]))


def _grid(parts: LedgerParts, method: CarbonMethod, region: str) -> FactorGrid:
    return factor_grid(parts.edges_us, parts.factors.get(method, ()), parts.hours.get(method, ()), region, method)


def _allocation_cuts(parts: LedgerParts) -> Iterator[datetime]:
    for instrument in parts.instruments:
        if instrument.own_pv or parts.matching == "hourly":
            yield instrument.produced_from
            yield instrument.produced_to
        for allocation in instrument.allocations:
            if allocation.kind == "retire":
                yield allocation.period_from
                yield allocation.period_to


def column_of(meter: MeterEnergy, starts: TimeArray) -> MeterColumn:
    """Return the sums of a meter in the slots that begin at the quarter hours `starts`."""
    covered_s = np.add.reduceat(meter.coverage * (BUCKET_15M_US / US_PER_S), starts)
    estimated = np.add.reduceat(np.nan_to_num(meter.estimated_kwh), starts)
    return MeterColumn(
        meter_id=meter.meter_id,
        key=meter.key,
        role=meter.role,
        computed_at=meter.computed_at,
        versions=meter.versions,
        import_kwh=slot_sums(meter.import_kwh, starts),
        export_kwh=slot_sums(meter.export_kwh, starts),
        estimated_kwh=tuple(exact(value) for value in estimated.tolist()),
        covered_s=tuple(exact(value) for value in covered_s.tolist()),
    )
