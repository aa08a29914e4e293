"""Parts of a ledger for tests: a year of quarter hours of a site with PV."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsd.energy import BUCKET_15M_US, bucket_edges, datetime_to_us
from emsd.energy.factors import CarbonFactor, CarbonMethod, FactorTimeline
from emsd.energy.ledger import Instrument, LedgerInputs, LedgerResults, compute
from emsd.energy.ledger.build import LedgerParts, build_inputs, frame_of, sums_of
from emsd.energy.ledger.columns import MeterEnergy
from emsd.energy.ledger.inputs import Allocation, MeterRole, Site
from emsd.energy.series import FloatArray

SHANGHAI = "Asia/Shanghai"
YEAR_BEGINS = datetime(2021, 12, 31, 16, tzinfo=UTC)
"""Midnight of 1 January 2022 in Shanghai."""
YEAR_ENDS = datetime(2022, 12, 31, 16, tzinfo=UTC)
MINISTRY = "Ministry of Ecology and Environment of China, CO2 emission factors of electricity 2022"


def factor(
    kg: float, method: CarbonMethod = "location", region: str = "CN", source: str = MINISTRY, **facts: Any
) -> CarbonFactor:
    known: dict[str, Any] = {"valid_from": YEAR_BEGINS, "valid_to": YEAR_ENDS}
    return CarbonFactor(region, method, kg_per_kwh=kg, source=source, **(known | facts))


def meter(
    key: str,
    role: MeterRole,
    quarters: int,
    import_kwh: float | FloatArray = 0.0,
    export_kwh: float | FloatArray = 0.0,
    coverage: float | FloatArray = 1.0,
    *,
    estimated_import_kwh: float | FloatArray = 0.0,
    counted: NDArray[np.bool_] | None = None,
) -> MeterEnergy:
    """Totals are spread evenly over the quarter hours; arrays are taken as they are."""

    def column(total: float | FloatArray) -> FloatArray:
        return total if isinstance(total, np.ndarray) else np.full(quarters, total / quarters)

    covered = coverage if isinstance(coverage, np.ndarray) else np.full(quarters, coverage)
    return MeterEnergy(
        1, key, role, column(import_kwh), column(export_kwh), column(estimated_import_kwh), column(0.0), covered,
        counted, YEAR_ENDS, (1,),
    )  # fmt: skip


def instrument(
    mwh: str,
    *allocations: Allocation,
    number: int = 1,
    kind: str = "gec",
    kg: str = "0",
    own_pv: bool = False,
    produced_from: datetime = YEAR_BEGINS,
    produced_to: datetime = YEAR_ENDS,
) -> Instrument:
    return Instrument(
        instrument_id=number,
        registry="registry",
        serial=f"S-{number}",
        kind=kind,
        level="contract" if kind == "ppa" else "certificate",
        own_pv=own_pv,
        energy_source="solar",
        energy_kwh=Decimal(mwh) * 1000,
        kg_per_kwh=Decimal(kg),
        produced_from=produced_from,
        produced_to=produced_to,
        valid_to=produced_to.replace(year=produced_to.year + 2),
        document="trade 1",
        allocations=allocations,
    )


def retired(mwh: str, from_: datetime = YEAR_BEGINS, to: datetime = YEAR_ENDS, *, event_id: int = 1) -> Allocation:
    return Allocation(event_id=event_id, kind="retire", energy_kwh=Decimal(mwh) * 1000, period_from=from_, period_to=to)


def sold(mwh: str) -> Allocation:
    return Allocation(
        event_id=1, kind="sell", energy_kwh=Decimal(mwh) * 1000, period_from=YEAR_BEGINS, period_to=YEAR_ENDS
    )


def parts(
    *,
    from_: datetime = YEAR_BEGINS,
    to: datetime = YEAR_ENDS,
    factors: Sequence[CarbonFactor] = (),
    region: str = "CN",
    **facts: Any,
) -> LedgerParts:
    edges_us = bucket_edges(datetime_to_us(from_), datetime_to_us(to), BUCKET_15M_US)
    by_method: dict[CarbonMethod, list[CarbonFactor]] = {}
    for each in factors:
        by_method.setdefault(each.method, []).append(each)
    timelines = {method: FactorTimeline(of_method) for method, of_method in by_method.items()}
    known: dict[str, Any] = {
        "site": Site(site_id=1, name="Display line", time_zone=SHANGHAI, carbon_region=region, residual_region="CN"),
        "gwp_set": "AR5",
        "matching": "yearly",
        "factors": timelines,
        "instruments": (),
        "activities": (),
    }
    return LedgerParts(edges_us=edges_us, **(known | facts))


def ledger(meters: Sequence[MeterEnergy] | None = None, **kwargs: Any) -> tuple[LedgerInputs, LedgerResults]:
    made_of = parts(**kwargs)
    frame = frame_of(made_of)
    given = [meter("incomer", "grid", made_of.edges_us.size - 1, 1000.0)] if meters is None else meters
    sums = sums_of(made_of, frame)
    inputs = build_inputs(made_of, frame, sums, [sums[each.role].add(each) for each in given])
    return inputs, compute(inputs)


def quarters(from_: datetime = YEAR_BEGINS, to: datetime = YEAR_ENDS) -> int:
    return (datetime_to_us(to) - datetime_to_us(from_)) // BUCKET_15M_US
