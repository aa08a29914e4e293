"""What an explanation of energy has beyond any other: the readings of each meter, its gaps, its sum."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal, TypeAlias

from pydantic import Field

from emsd.api.explained.form import Explanation
from emsd.api.schemas.answer import Answer
from emsd.energy.carbon import CarbonMethod
from emsd.energy.rollup import CarbonBasis
from emsd.store.scopes import ScopeKind

__all__ = [
    "CheckSum",
    "EstimateOfGap",
    "ExplainedDirection",
    "ExplainedEnergy",
    "ExplainedEvent",
    "ExplainedFactor",
    "ExplainedGap",
    "ExplainedMeter",
    "ExplainedReading",
    "ExplainedRules",
    "ExplainedSpecial",
    "ExplainedVersion",
    "Role",
]


Role: TypeAlias = Literal["top", "generation", "input"]


class ExplainedReading(Answer):
    """A reading that the figure rests on."""

    time: datetime = Field(examples=["2026-01-31T07:59:59.5Z"])
    value: float = Field(description="What the counter showed [kWh], or the power [kW].", examples=[120_345.6])
    quality: list[str] | None = Field(
        description="Flags of the reading, empty is good; null: it is none of the raw readings that are kept, such as "
        "one that a person wrote down as an event.",
        examples=[[]],
    )


class ExplainedSpecial(Answer):
    """Time between two good readings in which the counter did not simply count."""

    flags: list[str] = Field(description="rollover, reset, glitch, step, dip, swap, held_out.", examples=[["swap"]])
    before: ExplainedReading | None = Field(description="The good reading before; null: there is none.")
    after: ExplainedReading | None = Field(description="The good reading after; null: there is none.")
    pieces_kwh: list[float | None] = Field(
        description="The same, cut where events cut it: before a swap, and after it [kWh].", examples=[[23.3, 17.5]]
    )
    counted_kwh: float | None = Field(description="Energy that was counted [kWh]; null: nobody knows it.")
    correction_kwh: float = Field(description="What that adds to the difference of the two readings [kWh].")
    left_out: list[ExplainedReading] = Field(description="Readings in between that count for nothing, the first few.")
    left_out_count: int = Field(examples=[0])


class EstimateOfGap(Answer):
    """How the energy of a long gap was estimated."""

    energy_kwh: float | None = Field(description="The estimate [kWh]; null: nothing is known.", examples=[712.4])
    replaced_kwh: float = Field(description="The even spread that it takes the place of [kWh].", examples=[712.4])
    total_known: bool = Field(description="Whether a counter says what the gap holds in all.")
    quarter_hours: int = Field(examples=[24])
    shaped_quarter_hours: int = Field(description="How many of them got their shape from like days.", examples=[24])
    like_days: list[date] = Field(description="The like days behind it, local days of the site.")


class ExplainedGap(Answer):
    """Time without readings, longer than counts as measured."""

    from_: datetime = Field(alias="from")
    to: datetime
    length_s: float = Field(description="[s]", examples=[21_600.0])
    energy_kwh: float | None = Field(description="What it holds in all [kWh]; null: nobody knows it.")
    inside_kwh: float = Field(description="The part of it in the figure, spread evenly over the gap [kWh].")
    method: str = Field(description="How the energy in it was found, in words.")
    estimate: EstimateOfGap | None = Field(description="Of a gap longer than an hour, the part in the time asked for.")


class CheckSum(Answer):
    """last - first + ratio + corrections - outside = figure."""

    first_kwh: float = Field(description="First reading [kWh].")
    last_kwh: float = Field(description="Last reading [kWh].")
    difference_kwh: float = Field(description="Last less first reading [kWh].")
    ratio_kwh: float = Field(description="What changed current transformers add to differences of readings [kWh].")
    corrections_kwh: float = Field(description="What the special stretches add to them, all of them [kWh].")
    outside_kwh: float = Field(description="Energy between these readings that lies outside of the time [kWh].")
    figure_kwh: float = Field(description="Energy in the time [kWh].")
    left_over_kwh: float = Field(description="What the sum has beyond the figure [kWh]; rounding of doubles at most.")
    holds: bool


class ExplainedDirection(Answer):
    """Import or export of one meter, computed again from its raw readings."""

    direction: Literal["import", "export"]
    source: Literal["counter", "power", "virtual", "unknown"] = Field(
        description="What the energy was made of; unknown: no rules are recorded by which the meter was accounted."
    )
    figure_kwh: float | None = Field(
        description="From the raw readings, now, or from the intervals of a virtual meter's inputs [kWh]; null: "
        "nothing is known."
    )
    estimated_kwh: float | None = Field(
        description="The part of it that was spread over gaps [kWh]; null: nothing is known."
    )
    stored_kwh: float | None = Field(description="What the interval tables say [kWh].")
    agrees: bool = Field(description="Whether the two are the same figure.")
    remark: str = Field(description="Why they are not, as far as is known; empty when they are.")
    best_kwh: float | None = Field(description="The figure with estimates in place of the even spread [kWh].")
    first: ExplainedReading | None
    last: ExplainedReading | None
    sample_count: int = Field(description="Usable readings in the time.", examples=[86_400])
    check_sum: CheckSum | None = Field(description="null for a meter without a counter.")
    special_stretches: list[ExplainedSpecial] = Field(description="The first of them; the sum has all.")
    special_count: int
    special_counts: dict[str, int] = Field(description="By flag.", examples=[{"swap": 1}])
    gaps: list[ExplainedGap] = Field(description="The first of them.")
    gap_count: int


class ExplainedRules(Answer):
    """By what a meter's readings become energy."""

    max_power_kw: float | None = Field(description="Rated power [kW]; null: unknown, then every rise is plausible.")
    plausibility_factor: float = Field(description="How far the mean power between readings may exceed it.")
    max_gap_s: float = Field(description="Longer times between readings count as gaps [s].")
    count_kwh: float = Field(description="One count of the counter [kWh].")
    modulus_kwh: float | None = Field(description="Where the counter begins again at 0 [kWh].")
    refresh_s: float = Field(description="How much older than its reading a value may be [s].")
    hold_samples: int = Field(description="Readings that prove a new track of the counter.")
    has_import: bool
    has_export: bool
    power_method: str = Field(description="How power is integrated where there is no counter.")


class ExplainedVersion(Answer):
    """Which version of the rules made the stored intervals."""

    version: int | None = Field(description="null: made before versions were recorded.")
    code_version: int | None = Field(description="Version of the arithmetic.")
    since: datetime | None = Field(description="When accounting first went by it.")
    quarter_hours: int = Field(description="How many of the time it made.")
    is_todays: bool = Field(description="Whether this explanation goes by the same rules.")


class ExplainedEvent(Answer):
    """An entry of the meter's ledger that counts in this time."""

    event_id: int
    kind: str = Field(examples=["swap"])
    time: datetime
    detail: dict[str, Any]
    author: str
    note: str
    recorded_at: datetime


class ExplainedMeter(Answer):
    """One meter behind the figure."""

    meter: str = Field(examples=["incomer"])
    name: str
    roles: list[Role] = Field(
        description="What it is added up for: net energy, or generation; input: a virtual meter is made of it."
    )
    expression: str | None = Field(description="Of a virtual meter: what it is made of; explain those meters.")
    rules: ExplainedRules | None = Field(description="null: it was never accounted from readings.")
    versions: list[ExplainedVersion]
    events: list[ExplainedEvent]
    directions: list[ExplainedDirection]


class ExplainedFactor(Answer):
    """A carbon factor with the energy that it was multiplied with; nulls: energy without a factor."""

    from_: datetime = Field(alias="from")
    to: datetime
    region: str | None
    method: CarbonMethod | None
    version: int | None
    resolution: Literal["period", "hour"] | None = Field(
        description="hour: a series in which every hour has its own factor, told together."
    )
    kg_per_kwh: float | None = Field(description="[kgCO2/kWh]; of a series by the hour the mean over the energy.")
    source: str | None
    valid_from: datetime | None
    valid_to: datetime | None
    energy_kwh: float | None = Field(description="[kWh]; null: unknown.")
    kg_co2: float | None = Field(description="[kgCO2]")


class ExplainedEnergy(Explanation):
    """Energy explained: `figure` is the net energy of the interval tables, `recomputed` that of the readings [kWh]."""

    scope: ScopeKind
    key: str | None
    import_kwh: float | None = Field(description="Sum over the meters, from raw readings [kWh].")
    export_kwh: float | None = Field(description="Sum over the meters, from raw readings [kWh].")
    net_kwh: float | None = Field(description="Import less export [kWh].")
    stored_import_kwh: float | None = Field(description="The same from the interval tables [kWh].")
    stored_export_kwh: float | None = Field(description="The same from the interval tables [kWh].")
    carbon_basis: CarbonBasis = Field(description="What is multiplied with the factors.")
    kg_co2: float | None = Field(description="Location-based, from the interval tables [kgCO2].")
    without_factor_kwh: float = Field(description="The part of the energy for which no factor is valid [kWh].")
    factors: list[ExplainedFactor]
    meters: list[ExplainedMeter]
