"""From what a database holds to the inputs of a ledger: time cut into slots, sums and factors put into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from emsd.energy.carbon import CarbonFactor, CarbonMethod
from emsd.energy.ledger.activities import Activity, resolve
from emsd.energy.ledger.exact import exact
from emsd.energy.ledger.gwp import GwpSet
from emsd.energy.ledger.inputs import Instrument, LedgerInputs, Matching, MeterColumn, MeterRole, Site
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

__all__ = ["LedgerParts", "MeterEnergy", "build_inputs"]


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
    """What a ledger is built from.

    edges_us  int64[k + 1], the quarter hours that tile the period
    factors   by method; `hours` likewise, for the same regions
    """

    site: Site
    gwp_set: GwpSet
    matching: Matching
    edges_us: TimeArray
    meters: Sequence[MeterEnergy]
    factors: Mapping[CarbonMethod, Sequence[CarbonFactor]]
    hours: Mapping[CarbonMethod, Sequence[HourlyFactor]]
    instruments: Sequence[Instrument]
    activities: Sequence[Activity]


def build_inputs(parts: LedgerParts) -> LedgerInputs:
    """Return the inputs of a ledger, with as few slots as the factors, months and allocations allow.

    Raises:
        ValueError: an activity cannot be computed.
    """
    edges_us = parts.edges_us
    from_, to = datetime_from_us(int(edges_us[0])), datetime_from_us(int(edges_us[-1]))
    months = local_months(from_, to, ZoneInfo(parts.site.time_zone))
    location = _grid(parts, "location", parts.site.carbon_region)
    supplier = _grid(parts, "market", parts.site.carbon_region)
    residual = _grid(parts, "residual", parts.site.residual_region)
    cuts = [month.begins_at for month in months] + [cut for cut in _allocation_cuts(parts) if from_ < cut < to]
    starts = slot_starts(edges_us, (location, supplier, residual), cuts, hourly=parts.matching == "hourly")
    bounds_us = [*edges_us[starts].tolist(), int(edges_us[-1])]
    return LedgerInputs(
        site=parts.site,
        period_from=from_,
        period_to=to,
        gwp_set=parts.gwp_set,
        matching=parts.matching,
        months=tuple(months),
        edges=tuple(datetime_from_us(bound) for bound in bounds_us),
        meters=tuple(_column(meter, starts) for meter in parts.meters),
        location=factor_column(location, starts),
        supplier=factor_column(supplier, starts),
        residual=factor_column(residual, starts),
        instruments=tuple(parts.instruments),
        activities=tuple(resolve(activity, parts.gwp_set) for activity in parts.activities),
    )


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


def _column(meter: MeterEnergy, starts: TimeArray) -> MeterColumn:
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
