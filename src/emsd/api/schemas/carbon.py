"""What the carbon ledger answers: every field with its unit."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from emsd.api.schemas.answer import Answer
from emsd.api.schemas.energy import UsedFactor
from emsd.energy.ledger.gwp import GwpSet
from emsd.energy.ledger.inputs import InstrumentLevel, Matching

__all__ = [
    "AreaEntry",
    "GasEntry",
    "InstrumentUse",
    "LedgerAnswer",
    "LedgerFigures",
]


class LedgerFigures(Answer):
    """Figures of a month or of the whole period; null is unknown, never 0."""

    name: str = Field(description="Local month, or total.", examples=["2026-03"])
    grid_import_kwh: float | None = Field(description="What the top meters took from the grid [kWh].")
    grid_export_kwh: float | None = Field(description="What they gave to it [kWh].")
    generation_kwh: float | None = Field(description="Yield of own PV [kWh].")
    pv_used_kwh: float | None = Field(description="Own PV used on site [kWh].")
    load_kwh: float | None = Field(description="Grid import plus own PV used [kWh].")
    coverage: float | None = Field(description="Share 0..1 of the time that the grid meters measured.")
    generation_coverage: float | None = Field(description="The same of the PV meters.")
    completeness: float | None = Field(description="Share 0..1 of the time for which their energy is known at all.")
    estimated_share: float | None = Field(description="Share 0..1 of the grid energy that was not measured.")
    estimated_import_kwh: float = Field(description="Of the grid import, what was spread over gaps or estimated [kWh].")
    estimated_export_kwh: float = Field(description="The same of the grid export [kWh].")
    estimated_generation_kwh: float = Field(description="The same of the yield of own PV [kWh].")
    estimated_location_kg: float = Field(description="Of the location-based emissions, those of estimated energy [kg].")
    estimated_market_kg: float = Field(description="Of the market-based emissions, those of estimated energy [kg].")
    scope1_kg: float | None = Field(description="Scope 1 [kgCO2e]; null: no activity was entered.")
    location_kg: float | None = Field(description="Scope 2, location-based [kgCO2e].")
    location_coverage: float | None = Field(description="Share 0..1 of the grid import with a location-based factor.")
    market_kg: float | None = Field(description="Scope 2, market-based [kgCO2e].")
    market_coverage: float | None = Field(description="Share 0..1 of it with a factor of any kind.")
    certificate_kwh: float = Field(description="Use covered by retired certificates [kWh].")
    contract_kwh: float = Field(description="Use covered by contracts [kWh].")
    supplier_kwh: float = Field(description="Use by the supplier's factor [kWh].")
    residual_kwh: float = Field(description="Use by the residual mix [kWh].")
    location_kwh: float = Field(description="Use by the location-based factor, for want of a residual one [kWh].")
    without_factor_kwh: float = Field(description="Use without any factor; it is in no figure [kWh].")
    sold_pv_kwh: float = Field(description="Own PV used whose certificates were sold: residual mix [kWh].")
    avoided_kg: float | None = Field(description="Own PV used x location-based factor; beside, never inside [kgCO2].")
    self_consumption: float | None = Field(description="PV used / PV yield, 0..1.")
    self_sufficiency: float | None = Field(description="PV used / load, 0..1.")
    renewable_coverage: float | None = Field(description="(PV used + covered by certificates) / load, 0..1.")


class GasEntry(Answer):
    """Scope 1 by substance and gas."""

    substance: str = Field(examples=["NF3"])
    process: str | None = Field(examples=["chamber_clean_remote"])
    gas: str = Field(examples=["NF3"])
    emitted_kg: float = Field(description="Of the gas itself [kg].")
    kg_co2e: float = Field(description="Times its GWP [kgCO2e].")


class AreaEntry(Answer):
    """An area: its electricity as if all came from the grid, and Scope 1 that was entered for it."""

    area: str | None = Field(description="Key; null: Scope 1 that was entered without an area.", examples=["fab"])
    name: str | None = Field(examples=["Fab building"])
    consumption_kwh: float | None = Field(description="Consumption, areas below included [kWh].")
    location_kg: float | None = Field(description="Times the location-based factor [kgCO2].")
    coverage: float | None = Field(description="Share 0..1 of the time that its meters measured.")
    scope1_kg: float | None = Field(description="Scope 1 of this area alone [kgCO2e].")


class InstrumentUse(Answer):
    """What a certificate or contract covers in the period."""

    serial: str = Field(examples=["GEC-2026-000123"])
    registry: str
    level: InstrumentLevel
    available_kwh: float = Field(description="Retired for the period [kWh].")
    matched_kwh: float = Field(description="Of it what covers use [kWh].")
    surplus_kwh: float = Field(description="Of it what covers nothing [kWh].")
    reason: str = Field(description="Why it covers nothing at all; empty otherwise.")


class LedgerAnswer(Answer):
    """The carbon ledger of some local days."""

    from_: datetime = Field(alias="from")
    to: datetime = Field(description="A period that is running ends at the last quarter of an hour.")
    time_zone: str = Field(examples=["Asia/Shanghai"])
    carbon_region: str = Field(description="Region of the location-based factor.", examples=["CN"])
    residual_region: str = Field(description="Region of the residual factor.", examples=["CN"])
    gwp_set: GwpSet = Field(description="Whose global warming potentials count.")
    matching: Matching = Field(description="How certificates are matched with use.")
    total: LedgerFigures
    months: list[LedgerFigures]
    scope1: list[GasEntry]
    areas: list[AreaEntry]
    instruments: list[InstrumentUse]
    factors: list[UsedFactor]
    missing: list[str] = Field(description="What is not in the figures, or not known well enough, in words.")
