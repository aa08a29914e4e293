"""What the API answers to a question for sums."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from emsd.api.schemas.answer import Answer
from emsd.energy.period_sums import Per
from emsd.energy.rollup import CarbonBasis
from emsd.store.scopes import ScopeKind

__all__ = ["EnergySums", "SumsGroup", "SumsPeriod"]


class SumsPeriod(Answer):
    """Energy and carbon of one group in one period; what is not known is null."""

    period: str = Field(
        description="The period in the time of the site: 2026-01, 2026-01-31, 2026-01-31T08:00:00+01:00 or total.",
        examples=["2026-01"],
    )
    from_: datetime = Field(alias="from", description="Its begin; the first one may be cut short by the range.")
    to: datetime = Field(description="Its end, exclusive; the last one may be cut short by the range.")
    import_kwh: float | None = Field(description="Energy imported [kWh].", examples=[48213.5])
    export_kwh: float | None = Field(description="Energy exported [kWh].", examples=[0.0])
    net_kwh: float | None = Field(description="Import less export [kWh].", examples=[48213.5])
    generation_kwh: float | None = Field(description="Delivered by own PV [kWh].")
    consumption_kwh: float | None = Field(description="Net and generation [kWh].", examples=[48213.5])
    coverage: float | None = Field(
        description="Share 0..1 of the period that was measured, mean over the meters.", examples=[0.998]
    )
    generation_coverage: float | None = Field(description="The same share of the PV meters.")
    estimated_share: float | None = Field(
        description="Share 0..1 of import and export that was spread over gaps.", examples=[0.002]
    )
    kg_co2: float | None = Field(
        description="Location-based emissions [kg CO2]; null without carbon=true, or without a factor.",
        examples=[25871.4],
    )
    carbon_coverage: float | None = Field(
        description="Share 0..1 of the energy that had a factor; null without carbon=true.", examples=[1.0]
    )


class SumsGroup(Answer):
    """What is added up, and its periods."""

    key: str | None = Field(description="Key of the group; null for the site.", examples=["fab"])
    name: str = Field(examples=["Fab"])
    parent: str | None = Field(description="Key of the area that an area lies in; its sums include this one's.")
    meters: list[str] = Field(
        description="Keys of the meters that are added up: none has another of them upstream.",
        examples=[["fab-feeder"]],
    )
    generation_meters: list[str] = Field(description="Keys of the PV meters behind generation_kwh.")
    periods: list[SumsPeriod]


class EnergySums(Answer):
    """Sums of groups by period."""

    by: ScopeKind
    per: Per
    scope: ScopeKind
    key: str | None = Field(description="Key of the scope; null for the site.", examples=["fab"])
    time_zone: str = Field(description="In which months and days begin.", examples=["Asia/Shanghai"])
    from_: datetime = Field(alias="from")
    to: datetime
    carbon_basis: CarbonBasis | None = Field(
        description="What kg_co2 is made of: what the site drew from the grid, or what the group consumed; null without"
        " carbon=true."
    )
    groups: list[SumsGroup]
