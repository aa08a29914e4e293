"""Energy and carbon of windows of time, and the factors behind them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from emsd.api.schemas.answer import Answer
from emsd.energy.carbon import CarbonMethod
from emsd.energy.rollup import CarbonBasis
from emsd.energy.windows import WindowName
from emsd.store.scopes import ScopeKind

__all__ = ["CarbonRolling", "CarbonWindow", "EnergyRolling", "EnergyWindow", "FactorEntry", "FactorList", "UsedFactor"]


class FactorEntry(Answer):
    """Emissions of one kWh of grid electricity."""

    region: str = Field(examples=["CN-national"])
    method: CarbonMethod
    kg_per_kwh: float = Field(description="[kgCO2/kWh]", examples=[0.5306])
    source: str = Field(examples=["Ministry of Ecology and Environment, 2025-12-31"])
    valid_from: datetime
    valid_to: datetime | None = Field(description="null: no end is known.")
    version: int = Field(description="Of several of one period the highest counts.", examples=[1])
    in_force: bool = Field(description="Whether it is the one that applies now, for its method.")


class FactorList(Answer):
    """All factors of the site's region."""

    factors: list[FactorEntry]


class UsedFactor(Answer):
    """A factor that went into a figure."""

    region: str = Field(examples=["CN"])
    method: CarbonMethod = Field(description="location, market (the supplier's) or residual.")
    version: int = Field(examples=[1])
    resolution: Literal["period", "hour"] = Field(description="One value, or one by the hour.")
    kg_per_kwh: float | None = Field(description="[kgCO2/kWh]; null for a series of hours.", examples=[0.5306])
    source: str = Field(examples=["Ministry of Ecology and Environment, 2025-12-31"])
    valid_from: datetime
    valid_to: datetime | None


class CarbonWindow(Answer):
    """Emissions of one window; null is unknown, never 0."""

    window: WindowName
    from_: datetime = Field(alias="from", examples=["2026-01-31T07:45:00Z"])
    to: datetime = Field(description="The last settled minute.", examples=["2026-01-31T08:00:00Z"])
    coverage: float | None = Field(
        description="Share 0..1 of the window's time that was measured, mean over the meters.", examples=[1.0]
    )
    estimated_share: float | None = Field(
        description="Share 0..1 of import and export that was spread over gaps.", examples=[0.0]
    )
    carbon_basis: CarbonBasis = Field(description="What was multiplied with the factor.")
    kg_co2: float | None = Field(description="Scope 2, location-based [kgCO2].", examples=[381.4])
    carbon_coverage: float | None = Field(description="Share 0..1 of the energy that had a factor.", examples=[1.0])
    avoided_kg_co2: float | None = Field(
        description="Self-used own PV times the factor, site only [kgCO2]; beside the emissions, never inside them.",
        examples=[42.0],
    )
    factors: list[UsedFactor]


class EnergyWindow(CarbonWindow):
    """Energy and emissions of one window; null is unknown, never 0."""

    import_kwh: float | None = Field(description="[kWh]", examples=[718.9])
    export_kwh: float | None = Field(description="[kWh]", examples=[0.0])
    net_kwh: float | None = Field(description="Import less export [kWh].", examples=[718.9])
    generation_kwh: float | None = Field(description="Yield of own PV; null also without PV [kWh].", examples=[80.0])
    generation_coverage: float | None = Field(description="Coverage of the PV meters.", examples=[1.0])
    consumption_kwh: float | None = Field(description="Net plus generation [kWh].", examples=[798.9])


class _Rolling(Answer):
    scope: ScopeKind
    key: str | None = Field(description="null for the site.", examples=[None])
    time_zone: str = Field(description="Whose days `today` and `month_to_date` follow.", examples=["Asia/Shanghai"])
    meter_count: int = Field(description="How many meters were added up.", examples=[1])
    meters: list[str] = Field(
        description="Their keys: energy meters of the scope with none of the scope upstream.", examples=[["incomer"]]
    )
    generation_meters: list[str] = Field(description="Keys of the PV meters.", examples=[["pv-1-inverter"]])


class EnergyRolling(_Rolling):
    """Rolling energy and emissions of one scope."""

    windows: list[EnergyWindow]


class CarbonRolling(_Rolling):
    """Rolling emissions of one scope."""

    windows: list[CarbonWindow]
