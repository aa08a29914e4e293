"""What the API answers of key figures."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from emsd.api.key_figures import Per
from emsd.api.schemas.answer import Answer
from emsd.energy.kpi.definitions import When

__all__ = [
    "AssetKpiAnswer",
    "AssetKpiSeries",
    "KpiComparison",
    "KpiEntry",
    "KpiInput",
    "KpiList",
    "KpiPeriod",
    "KpiRank",
]


class KpiEntry(Answer):
    """The definition of a key figure."""

    name: str = Field(examples=["chiller_cop"])
    title: str = Field(examples=["Coefficient of performance"])
    unit: str = Field(description="1 is a plain number.", examples=["1"])
    formula: str = Field(description="How a period's figure is made of sums.", examples=["sum of cold / sum of kWh"])
    source: str = Field(description="Who says so.", examples=["AHRI Standard 550/590"])
    asset_kinds: list[str] = Field(description="Kinds of asset that have it.", examples=[["chiller"]])
    inputs: list[str] = Field(description="Amounts it is made of.", examples=[["cooling_kwh", "energy_kwh"]])
    facts: list[str] = Field(description="What it needs to know of the asset besides.", examples=[["floor_area_m2"]])
    when: When = Field(
        description="Which quarter hours count: all, those in which production rests, those that are not dark, or those"
        " in which the machine does not stand still."
    )
    better: Literal["higher", "lower"] | None = Field(description="Which way is better.", examples=["higher"])


class KpiList(Answer):
    """Every key figure that there is."""

    kpis: list[KpiEntry]


class KpiInput(Answer):
    """One quantity of one meter that a figure was made of."""

    input: str = Field(examples=["cooling_kwh"])
    meter: str = Field(examples=["chiller-1-heat-meter"])
    quantity: str = Field(examples=["cooling_energy_kwh"])
    aggregate: str = Field(
        description="How the quantity becomes the input: intervals, yield, counter, integral, water, ...",
        examples=["counter"],
    )


class KpiPeriod(Answer):
    """A key figure of one period."""

    from_: datetime = Field(alias="from", description="Begin, inclusive.")
    to: datetime = Field(description="End, exclusive.")
    value: float | None = Field(description="In the unit of the key figure; null: see reason.", examples=[5.81])
    coverage: float = Field(description="Share 0..1 of the period that the value stands for.", examples=[0.98])
    reason: str | None = Field(description="Why there is no value.", examples=[None])


class AssetKpiSeries(Answer):
    """One key figure of the asset, period by period."""

    name: str = Field(examples=["chiller_cop"])
    title: str = Field(examples=["Coefficient of performance"])
    unit: str = Field(examples=["1"])
    better: Literal["higher", "lower"] | None = Field(examples=["higher"])
    reference: float | None = Field(
        description="Rating or target of the plant file, in the unit of the key figure.", examples=[5.5]
    )
    inputs: list[KpiInput]
    reason: str | None = Field(description="Why it cannot be computed at all.", examples=[None])
    periods: list[KpiPeriod]


class AssetKpiAnswer(Answer):
    """Key figures of one asset."""

    asset: str = Field(examples=["chiller-1"])
    kind: str = Field(examples=["chiller"])
    time_zone: str = Field(description="Zone of local days and months.", examples=["Asia/Shanghai"])
    from_: datetime = Field(alias="from", description="Begin, on a full quarter hour.")
    to: datetime = Field(description="End, on a full quarter hour.")
    per: Per = Field(examples=["total"])
    facts: dict[str, float] = Field(
        description="What is known of the asset, units in the names.", examples=[{"peak_power_kwp": 500.0}]
    )
    kpis: list[AssetKpiSeries]


class KpiRank(Answer):
    """One asset of a comparison."""

    asset: str = Field(examples=["chiller-1"])
    name: str = Field(examples=["Chiller 1"])
    area: str = Field(description="Key of its area.", examples=["chilled-water"])
    value: float | None = Field(description="In the unit of the key figure; null: see reason.", examples=[5.81])
    coverage: float = Field(description="Share 0..1 of the period that the value stands for.", examples=[0.98])
    reference: float | None = Field(description="Rating or target of the plant file.", examples=[5.5])
    reason: str | None = Field(description="Why there is no value.", examples=[None])
    inputs: list[KpiInput]


class KpiComparison(Answer):
    """One key figure of all assets that have it, the best first, those without a value last."""

    kpi: KpiEntry
    from_: datetime = Field(alias="from", description="Begin, on a full quarter hour.")
    to: datetime = Field(description="End, on a full quarter hour.")
    assets: list[KpiRank]
