"""Everything that makes a carbon ledger of one site and period, as it is frozen into a statement.

Time is cut into slots: within one slot no factor, no local month, no bound of an allocation and, with hourly matching,
no hour of a certificate changes. With yearly factors a slot is a month, with hourly factors an hour.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Literal, Self, TypeAlias

from pydantic import model_validator

from emsd.energy.ledger.activities import ResolvedActivity
from emsd.energy.ledger.exact import CONTEXT, Exact, Instant, Record
from emsd.energy.ledger.gwp import GwpSet

__all__ = [
    "Allocation",
    "EnergyColumn",
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


class EnergyColumn(Record):
    """Sums of intervals, one for each slot (of a meter: each month); energy is None where nothing is known.

    import_kwh, export_kwh                      what is known best: measured, and estimates in long gaps
    estimated_import_kwh, estimated_export_kwh  the part of it that was not measured: spread over gaps or estimated
    due_s                                       time that was to be measured, of all meters that counted [s]
    known_s                                     time of it whose energy is known, measured or not [s]
    covered_s                                   time of it that was measured [s]
    """

    import_kwh: tuple[Exact | None, ...]
    export_kwh: tuple[Exact | None, ...]
    estimated_import_kwh: tuple[Exact, ...]
    estimated_export_kwh: tuple[Exact, ...]
    due_s: tuple[Exact, ...]
    known_s: tuple[Exact, ...]
    covered_s: tuple[Exact, ...]

    def lengths(self) -> set[int]:
        """Return how long the columns are; a sound one has one length."""
        return {len(getattr(self, name)) for name in EnergyColumn.model_fields}


class MeterColumn(EnergyColumn):
    """Sums of one meter by month, while it spoke for the site.

    role         grid: a top meter of the site; generation: a meter of own PV
    computed_at  when the newest of these intervals was computed; None when there is none
    versions     versions of the computation that made them, as far as they are recorded
    """

    meter_id: int
    key: str
    role: MeterRole
    computed_at: Instant | None
    versions: tuple[int, ...] = ()


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

    serial  its number, or the first one of a batch up to last_serial
    own_pv  it was issued for the site's own PV: sold, it takes away the zero of the PV that was used
    """

    instrument_id: int
    registry: str
    serial: str
    last_serial: str | None = None
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
    """All of it; `edges` are the k + 1 bounds of the k slots, which tile the period.

    grid, generation  sums of all meters of a role by slot; `meters` tell by month which meter they come from
    """

    site: Site
    period_from: Instant
    period_to: Instant
    gwp_set: GwpSet
    matching: Matching
    months: tuple[Month, ...]
    edges: tuple[Instant, ...]
    grid: EnergyColumn
    generation: EnergyColumn
    meters: tuple[MeterColumn, ...]
    location: FactorColumn
    supplier: FactorColumn
    residual: FactorColumn
    instruments: tuple[Instrument, ...]
    activities: tuple[ResolvedActivity, ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """Refuse columns that are not as long as there are slots, and slots that are not the sums of the meters."""
        slots = len(self.edges) - 1
        lengths = self.grid.lengths() | self.generation.lengths()
        lengths |= {len(each.kg_per_kwh) for each in (self.location, self.supplier, self.residual)}
        if slots < 1 or lengths != {slots}:
            raise ValueError(f"there are {slots} slots, and columns of {sorted(lengths)}")
        of_meters = {length for meter in self.meters for length in meter.lengths()}
        if of_meters - {len(self.months)}:
            raise ValueError(f"there are {len(self.months)} months, and meters with {sorted(of_meters)}")
        for role, column in (("grid", self.grid), ("generation", self.generation)):
            meters = [each for each in self.meters if each.role == role]
            for name in EnergyColumn.model_fields:
                if _total(getattr(column, name)) != sum(_total(getattr(each, name)) for each in meters):
                    raise ValueError(f"{name} of the {role} meters is not the sum of its meters")
        return self


def _total(values: tuple[Decimal | None, ...]) -> Decimal:
    with localcontext(CONTEXT):
        return sum((each for each in values if each is not None), Decimal(0))
