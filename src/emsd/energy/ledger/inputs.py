"""Everything that makes a carbon ledger of one site and period, as it is frozen into a statement.

Time is cut into slots: within one slot no factor, no local month and no bound of an allocation changes. With
yearly factors a slot is a month, with hourly factors or hourly matching an hour.
"""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

from pydantic import model_validator

from emsd.energy.ledger.activities import ResolvedActivity
from emsd.energy.ledger.exact import Exact, Instant, Record
from emsd.energy.ledger.gwp import GwpSet

__all__ = [
    "Allocation",
    "FactorColumn",
    "FactorUse",
    "Instrument",
    "InstrumentLevel",
    "LedgerInputs",
    "Matching",
    "MeterColumn",
    "MeterRole",
    "Month",
    "Site",
]

Matching: TypeAlias = Literal["yearly", "hourly"]
"""yearly: an allocation covers any use within its period; hourly: only use in the hour of production."""
InstrumentLevel: TypeAlias = Literal["certificate", "contract"]
MeterRole: TypeAlias = Literal["grid", "generation"]


class Site(Record):
    """Whose ledger it is, and whose grid factors apply."""

    site_id: int
    name: str
    time_zone: str
    carbon_region: str
    residual_region: str


class Month(Record):
    """The part of a local month that lies in the period, such as 2026-03."""

    name: str
    begins_at: Instant
    ends_at: Instant


class MeterColumn(Record):
    """Sums of the intervals of one meter, one for each slot; None where nothing is known.

    role         grid: a top meter of the site; generation: a meter of own PV
    covered_s    measured time of each slot [s]
    computed_at  when the newest of these intervals was computed; None when there is none
    versions     versions of the computation that made them, as far as they are recorded
    """

    meter_id: int
    key: str
    role: MeterRole
    computed_at: Instant | None
    versions: tuple[int, ...] = ()
    import_kwh: tuple[Exact | None, ...]
    export_kwh: tuple[Exact | None, ...]
    estimated_kwh: tuple[Exact, ...]
    covered_s: tuple[Exact, ...]


class FactorUse(Record):
    """A published factor that applies somewhere in the period; kg_per_kwh is None for a series of hours."""

    region: str
    method: str
    resolution: Literal["period", "hour"]
    version: int
    source: str
    valid_from: Instant
    valid_to: Instant | None
    kg_per_kwh: Exact | None


class FactorColumn(Record):
    """The factor [kg/kWh] of each slot, and which of `uses` it comes from; None where there is none."""

    uses: tuple[FactorUse, ...]
    use: tuple[int | None, ...]
    kg_per_kwh: tuple[Exact | None, ...]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """Refuse a column that says otherwise than the publications that it names."""
        for use, kg in zip(self.use, self.kg_per_kwh, strict=True):
            published = kg if use is None else self.uses[use].kg_per_kwh
            if (use is None) != (kg is None) or (published is not None and published != kg):
                raise ValueError(f"a factor of {kg} kg/kWh is not that of its publication")
        return self


class Allocation(Record):
    """Energy of an instrument that was retired for a period of use, or sold with its attributes."""

    event_id: int
    kind: Literal["retire", "sell"]
    energy_kwh: Exact
    period_from: Instant
    period_to: Instant


class Instrument(Record):
    """A certificate or contract, and what was done with it.

    own_pv  it was issued for the site's own PV: sold, it takes away the zero of the PV that was used
    """

    instrument_id: int
    registry: str
    serial: str
    kind: str
    level: InstrumentLevel
    own_pv: bool
    energy_source: str
    energy_kwh: Exact
    kg_per_kwh: Exact
    produced_from: Instant
    produced_to: Instant
    valid_to: Instant
    document: str
    allocations: tuple[Allocation, ...]


class LedgerInputs(Record):
    """All of it; `edges` are the k + 1 bounds of the k slots, which tile the period."""

    site: Site
    period_from: Instant
    period_to: Instant
    gwp_set: GwpSet
    matching: Matching
    months: tuple[Month, ...]
    edges: tuple[Instant, ...]
    meters: tuple[MeterColumn, ...]
    location: FactorColumn
    supplier: FactorColumn
    residual: FactorColumn
    instruments: tuple[Instrument, ...]
    activities: tuple[ResolvedActivity, ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """Refuse columns that are not as long as there are slots."""
        slots = len(self.edges) - 1
        columns = [(each.import_kwh, each.export_kwh, each.estimated_kwh, each.covered_s) for each in self.meters]
        lengths = {len(part) for column in columns for part in column}
        lengths |= {len(each.kg_per_kwh) for each in (self.location, self.supplier, self.residual)}
        if slots < 1 or lengths != {slots}:
            raise ValueError(f"there are {slots} slots, and columns of {sorted(lengths)}")
        return self
