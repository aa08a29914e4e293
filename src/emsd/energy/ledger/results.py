"""What a ledger says: Scope 1, Scope 2 by both methods, coverage, and what is missing."""

from __future__ import annotations

from emsd.energy.ledger.exact import Exact, Record
from emsd.energy.ledger.inputs import InstrumentLevel

__all__ = ["AreaFigure", "Figures", "GasFigure", "InstrumentFigure", "LedgerResults"]


class Figures(Record):
    """Figures of a month or of the whole period; None is unknown, never 0.

    name                  2026-03, or total
    coverage              share of the time for which the grid meters have measurements; generation_coverage of the PV's
    completeness          share of the time for which their energy is known, measured or estimated
    estimated_share       share of the grid energy, import and export, that was spread over gaps or estimated
    estimated_...         the part of the line of that name that was not measured; of emissions, the part of its energy
    load_kwh              what was used: from the grid and of own PV
    location_kg           Scope 2, location-based; location_coverage is the share of its energy that had a factor
    market_kg             Scope 2, market-based, made of the energies by level: certificate, contract, supplier,
                          residual, location (where no residual factor is known); market_coverage as above
    sold_pv_kwh           own PV used on site whose certificates were sold: residual mix in market_kg
    scope1_kg             None when no activity of the time was entered
    avoided_kg            own PV used on site times the location-based factor: beside the inventory, never inside
    renewable_coverage    (PV used and not sold + use covered by retired certificates) / load
    """

    name: str
    grid_import_kwh: Exact | None
    grid_export_kwh: Exact | None
    generation_kwh: Exact | None
    pv_used_kwh: Exact | None
    load_kwh: Exact | None
    coverage: Exact | None
    generation_coverage: Exact | None
    completeness: Exact | None
    estimated_share: Exact | None
    estimated_import_kwh: Exact
    estimated_export_kwh: Exact
    estimated_generation_kwh: Exact
    estimated_location_kg: Exact
    estimated_market_kg: Exact
    scope1_kg: Exact | None
    location_kg: Exact | None
    location_coverage: Exact | None
    market_kg: Exact | None
    market_coverage: Exact | None
    certificate_kwh: Exact
    contract_kwh: Exact
    supplier_kwh: Exact
    residual_kwh: Exact
    location_kwh: Exact
    without_factor_kwh: Exact
    sold_pv_kwh: Exact
    avoided_kg: Exact | None
    self_consumption: Exact | None
    self_sufficiency: Exact | None
    renewable_coverage: Exact | None


class GasFigure(Record):
    """Emissions of one gas from one use of one substance."""

    substance: str
    process: str | None
    gas: str
    emitted_kg: Exact
    kg_co2e: Exact


class AreaFigure(Record):
    """Scope 1 of one area; `area` is None for what was entered without one."""

    area: str | None
    kg_co2e: Exact


class InstrumentFigure(Record):
    """What one certificate or contract covers; surplus covers nothing, and reason says why where it is all of it."""

    instrument_id: int
    registry: str
    serial: str
    level: InstrumentLevel
    available_kwh: Exact
    matched_kwh: Exact
    surplus_kwh: Exact
    kg_co2e: Exact
    reason: str


class LedgerResults(Record):
    """All figures of a ledger; `missing` says in words what is not in them."""

    total: Figures
    months: tuple[Figures, ...]
    scope1: tuple[GasFigure, ...]
    scope1_by_area: tuple[AreaFigure, ...]
    instruments: tuple[InstrumentFigure, ...]
    missing: tuple[str, ...]
