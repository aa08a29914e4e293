"""What the API answers about the balance of buses."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from emsd.api.schemas.answer import Answer

__all__ = ["BalanceList", "BalancePoint", "BusBalance", "ChildEnergy"]


class ChildEnergy(Answer):
    """A meter directly below a bus."""

    meter: str = Field(description="Its key.", examples=["cleanroom-feeder"])
    net_kwh: float | None = Field(
        description="Import less export over the balanced time [kWh]; a generator's is negative.", examples=[412.5]
    )
    coverage: float = Field(description="Share 0..1 of the window that was measured.", examples=[1.0])
    missing_share: float = Field(
        description="Share 0..1 of the window in which its energy is not known.", examples=[0.0]
    )


class BalancePoint(Answer):
    """The balance of one bucket; null while the bus or one of its children is not known."""

    time: datetime = Field(description="Begin of the bucket.", examples=["2026-01-31T08:00:00Z"])
    measured_kwh: float | None = Field(description="Import less export of the bus [kWh].", examples=[612.5])
    children_kwh: float | None = Field(description="Import less export of all children [kWh].", examples=[600.25])
    residual_kwh: float | None = Field(description="Bus less children [kWh].", examples=[12.25])
    residual_percent: float | None = Field(description="In percent of what came onto the bus.", examples=[2.0])
    coverage: float = Field(description="Of the bus, 0..1.", examples=[1.0])
    children_coverage: float = Field(description="Of the child that is covered worst, 0..1.", examples=[1.0])


class BusBalance(Answer):
    """A meter against the meters directly below it. Energies are those of the balanced time alone."""

    bus: str = Field(description="Key of the meter.", examples=["incomer"])
    name: str = Field(examples=["20 kV incomer"])
    parent: str | None = Field(description="Key of the bus that it hangs below.", examples=[None])
    depth: int = Field(description="How many buses are above it; buses come in the order of the tree.", examples=[0])
    residual_kind: Literal["losses", "unmetered_load"] | None = Field(
        description="What the plant's description says of its residual.", examples=["losses"]
    )
    band_percent: tuple[float, float] | None = Field(description="Usual residual, percent.", examples=[[0.0, 3.0]])
    band_kw: tuple[float, float] | None = Field(description="Usual residual [kW].", examples=[None])
    measured_kwh: float | None = Field(description="Import less export of the bus [kWh].", examples=[612.5])
    children_kwh: float | None = Field(description="Import less export of all children [kWh].", examples=[600.25])
    supply_kwh: float | None = Field(
        description="What came onto the bus: its import and what children export [kWh].", examples=[612.5]
    )
    residual_kwh: float | None = Field(description="Bus less children [kWh].", examples=[12.25])
    residual_percent: float | None = Field(description="Residual in percent of the supply.", examples=[2.0])
    residual_kw: float | None = Field(description="Residual over the balanced time [kW].", examples=[49.0])
    within_band: bool | None = Field(
        description="Whether the residual is inside its bands; null: none is given, or too little is known to say.",
        examples=[True],
    )
    coverage: float = Field(description="Share 0..1 of the window in which the bus was measured.", examples=[1.0])
    children_coverage: float = Field(description="The same of the child covered worst at each time.", examples=[1.0])
    estimated_kwh: float = Field(description="Energy of bus and children over too long gaps [kWh].", examples=[0.0])
    balanced_share: float = Field(
        description="Share 0..1 of the window in which the bus and all of its children are known.", examples=[1.0]
    )
    bus_missing_share: float = Field(
        description="Share 0..1 of the window in which the bus is not known.", examples=[0.0]
    )
    missing: list[str] = Field(description="Keys of the children that are not known all the time.", examples=[[]])
    children: list[ChildEnergy]
    points: list[BalancePoint] | None = Field(description="Bucket by bucket; null when no step was asked for.")


class BalanceList(Answer):
    """Balances over [from, to)."""

    from_: datetime = Field(alias="from", examples=["2026-01-31T08:00:00Z"])
    to: datetime = Field(examples=["2026-01-31T09:00:00Z"])
    step: Literal["15m", "1d"] | None = Field(description="Width of the points.", examples=["15m"])
    buses: list[BusBalance]
