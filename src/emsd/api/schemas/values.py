"""Values of quantities: the latest, raw readings, intervals, and what happens live."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from emsd.api.schemas.answer import Answer
from emsd.energy.windows import Tier
from emsd.quantities import Kind

__all__ = [
    "IntervalPoint",
    "IntervalSeries",
    "LatestList",
    "LatestValue",
    "LiveEvent",
    "MeterLatest",
    "QuantitySeries",
    "ReadingPoint",
    "ReadingSeries",
]


class LatestValue(Answer):
    """The newest known value of one quantity."""

    value: float | None = Field(
        description="null: its newest reading had no value, and quality says why.", examples=[412.5]
    )
    unit: str = Field(examples=["kW"])
    time: datetime = Field(description="When the meter said it.", examples=["2026-01-31T08:00:00.125Z"])
    age_s: float = Field(description="How long ago that was [s].", examples=[0.8])
    quality: list[str] = Field(description="Flags of its reading; empty is good.", examples=[["device_time"]])


class MeterLatest(Answer):
    """The newest values of one meter."""

    meter: str = Field(examples=["cleanroom-feeder"])
    source: Literal["live", "database"] = Field(description="Where they come from: this process, or the database.")
    time: datetime | None = Field(description="The newest of the values' times; null: it never delivered.")
    age_s: float | None = Field(description="[s]", examples=[0.8])
    values: dict[str, LatestValue] = Field(description="By quantity; one that was never delivered is absent.")


class LatestList(Answer):
    """The newest values of all meters."""

    meters: list[MeterLatest]


class ReadingPoint(Answer):
    """One bucket: minimum, mean and maximum of a gauge, the last value of a counter."""

    time: datetime = Field(description="Begin of the bucket.", examples=["2026-01-31T08:00:00Z"])
    min: float | None = Field(default=None, examples=[410.0])
    avg: float | None = Field(default=None, description="Mean of the samples.", examples=[412.5])
    max: float | None = Field(default=None, examples=[415.0])
    last: float | None = Field(default=None, description="Of a counter.")


class QuantitySeries(Answer):
    """The points of one quantity; a bucket without a value is absent."""

    quantity: str = Field(examples=["active_power_kw"])
    unit: str = Field(examples=["kW"])
    kind: Kind
    points: list[ReadingPoint]


class ReadingSeries(Answer):
    """Readings of one meter, downsampled."""

    meter: str = Field(examples=["incomer"])
    from_: datetime = Field(alias="from", examples=["2026-01-31T08:00:00Z"])
    to: datetime = Field(examples=["2026-01-31T09:00:00Z"])
    bucket_s: int = Field(description="Width of a bucket [s]; the first begins at `from`.", examples=[10])
    series: list[QuantitySeries]


class IntervalPoint(Answer):
    """Energy and power of one interval; null is unknown, never 0."""

    time: datetime = Field(description="Begin of the interval.", examples=["2026-01-31T08:00:00Z"])
    energy_import_kwh: float | None = Field(description="[kWh]", examples=[103.1])
    energy_export_kwh: float | None = Field(description="[kWh]", examples=[0.0])
    estimated_import_kwh: float = Field(description="Part of the import that was spread over gaps [kWh].")
    estimated_export_kwh: float = Field(description="Part of the export that was spread over gaps [kWh].")
    power_min_kw: float | None = Field(description="[kW]", examples=[398.0])
    power_avg_kw: float | None = Field(description="[kW]", examples=[412.4])
    power_max_kw: float | None = Field(description="[kW]", examples=[430.2])
    coverage: float = Field(description="Share 0..1 of its time with samples.", examples=[1.0])
    sample_count: int = Field(examples=[900])
    flags: list[str] = Field(description="What happened to a counter.", examples=[["rollover"]])


class IntervalSeries(Answer):
    """Intervals of one meter, in order; one of which nothing is stored is absent."""

    meter: str = Field(examples=["incomer"])
    tier: Tier = Field(description="Width: a minute, a quarter of an hour, or a local day of the site.")
    from_: datetime = Field(alias="from")
    to: datetime
    intervals: list[IntervalPoint]


class LiveEvent(Answer):
    """One reading as it arrives."""

    meter: str = Field(examples=["incomer"])
    time: datetime = Field(examples=["2026-01-31T08:00:00.125Z"])
    values: dict[str, float | None] = Field(
        description="By quantity; null is a value that could not be read.", examples=[{"active_power_kw": 2875.5}]
    )
    quality: list[str] = Field(description="Flags; empty is good.", examples=[[]])
