"""What the API answers to questions of demand."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from emsd.api.schemas.answer import Answer
from emsd.store.scopes import ScopeKind

__all__ = ["DemandAnswer", "DemandForecastAnswer", "DemandPeak", "DemandRow", "UntrustedBlock"]


class DemandPeak(Answer):
    """A highest demand and when its period began."""

    demand_kw: float = Field(description="Mean power over the settlement period [kW].", examples=[4210.5])
    from_: datetime = Field(alias="from", examples=["2026-10-14T02:15:00Z"])


class DemandRow(Answer):
    """The highest demand of one day, month or year, or of the whole range."""

    from_: datetime = Field(alias="from")
    to: datetime
    contract_demand_kw: float | None = Field(description="Agreed when it began; the site only [kW].", examples=[4500.0])
    block: DemandPeak | None = Field(description="Highest settlement period; null: none is covered well enough.")
    sliding: DemandPeak | None = Field(
        description="Highest window of the same length that begins at any minute; null: none, or not asked for."
    )
    blocks: int = Field(description="Settlement periods in it.", examples=[96])
    untrusted_blocks: int = Field(description="Of these, less than 90 % covered; they count for nothing.", examples=[0])


class UntrustedBlock(Answer):
    """A settlement period that is not covered well enough."""

    from_: datetime = Field(alias="from")
    coverage: float = Field(description="Share 0..1 that was measured, of the worst covered meter.", examples=[0.4])


class DemandAnswer(Answer):
    """Demand of one scope: mean power drawn over settlement periods."""

    scope: ScopeKind
    key: str | None = Field(description="null for the site.", examples=[None])
    period_min: int = Field(description="Length of a settlement period [min].", examples=[15])
    time_zone: str = Field(examples=["Asia/Shanghai"])
    meters: list[str] = Field(description="Keys of the meters that are added up.", examples=[["incomer"]])
    rows: list[DemandRow]
    untrusted: list[UntrustedBlock] = Field(description="The first 100 of the whole range.")


class DemandForecastAnswer(Answer):
    """The running settlement period; null is unknown, never 0."""

    scope: ScopeKind
    key: str | None = Field(description="null for the site.", examples=[None])
    meters: list[str] = Field(description="Keys of the meters that are added up.", examples=[["incomer"]])
    from_: datetime = Field(alias="from", description="Begin of the running period.")
    to: datetime = Field(description="Its end.")
    until: datetime = Field(description="How far what was drawn is known.")
    source: Literal["intervals", "readings"] = Field(
        description="Whether it is known to the last settled minute, or to the latest readings."
    )
    energy_kwh: float | None = Field(description="Drawn since its begin [kWh].", examples=[512.4])
    present_kw: float | None = Field(description="Mean power of the last minutes [kW].", examples=[4230.0])
    forecast_kw: float | None = Field(description="Its demand if that goes on [kW].", examples=[4190.0])
    error_kw: float | None = Field(
        description="Root mean square error of such forecasts over the last two hours [kW].", examples=[120.0]
    )
    contract_demand_kw: float | None = Field(description="The site only [kW].", examples=[4500.0])
    headroom_kw: float | None = Field(
        description="Mean power that may be drawn in the rest without exceeding the contract [kW].", examples=[4810.0]
    )
    minutes_left: float | None = Field(
        description="Until the energy of the contract is used up at the present power [min]; "
        "the period's length when it is not before the period ends.",
        examples=[8.6],
    )
