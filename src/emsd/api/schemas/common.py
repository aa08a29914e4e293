"""What the API answers: every field with its unit, and an example that a test can hold against it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from emsd.alarms.lifecycle import AlarmState, Step
from emsd.energy.carbon import CarbonMethod
from emsd.energy.rollup import CarbonBasis
from emsd.energy.windows import Tier, WindowName
from emsd.plant.models import Priority
from emsd.quantities import Kind
from emsd.store.scopes import ScopeKind

__all__ = [
    "Acknowledgement",
    "AlarmEntry",
    "AlarmJournal",
    "AlarmList",
    "AreaNode",
    "AssetNode",
    "CarbonRolling",
    "CarbonWindow",
    "EnergyRolling",
    "EnergyWindow",
    "FactorEntry",
    "FactorList",
    "Health",
    "IntervalPoint",
    "IntervalSeries",
    "JournalEntry",
    "LatestList",
    "LatestValue",
    "LiveEvent",
    "MeterDetail",
    "MeterLatest",
    "MeterList",
    "MeterNode",
    "PlantTree",
    "ProblemDetail",
    "QuantitySeries",
    "ReadingPoint",
    "ReadingSeries",
    "Readiness",
    "UsedFactor",
]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, serialize_by_alias=True, validate_by_name=True)


# --- the plant ----------------------------------------------------------------------------------------------------


class MeterNode(_Answer):
    """A data source."""

    key: str = Field(examples=["cleanroom-feeder"])
    name: str = Field(examples=["Cleanroom feeder"])
    meter_id: int = Field(description="Number in the database, unique in the fleet.", examples=[1000002])
    kind: Literal["device", "virtual", "derived"] = Field(
        description="device; virtual: computed of other meters; derived: what is computed of one meter every minute.",
        examples=["device"],
    )
    measures_energy: bool = Field(description="Whether intervals are kept for it.")
    counts: bool = Field(description="Whether its energy is part of sums over area and site.")
    parent: str | None = Field(description="Key of the energy meter upstream.", examples=["incomer"])


class MeterDetail(MeterNode):
    """A data source with everything that is configured of it."""

    asset: str | None = Field(description="Key of its asset.", examples=["cleanroom"])
    asset_kind: str | None = Field(examples=["cleanroom"])
    areas: list[str] = Field(description="Keys of its areas, the innermost first.", examples=[["fab", "site"]])
    children: list[str] = Field(description="Keys of the meters directly below it.", examples=[["cleanroom-ffu"]])
    profile: str = Field(examples=["schneider_pm5560"])
    connection: str = Field(examples=["substation"])
    address: str = Field(description="Modbus unit, MQTT topic, or the expression of a virtual meter.", examples=["2"])
    poll_interval_s: float = Field(description="[s]", examples=[1.0])
    rated_power_kw: float | None = Field(description="[kW]", examples=[1500.0])
    max_gap_s: float = Field(description="Longer gaps between samples count as estimated [s].", examples=[300.0])


class MeterList(_Answer):
    """All meters of the site."""

    meters: list[MeterDetail]


class AssetNode(_Answer):
    """A piece of equipment and its meters."""

    key: str = Field(examples=["compressor-1"])
    name: str = Field(examples=["Compressor 1"])
    kind: str = Field(examples=["compressor"])
    rated_power_kw: float | None = Field(description="[kW]", examples=[250.0])
    meters: list[MeterNode]


class AreaNode(_Answer):
    """A node of the site's tree."""

    key: str = Field(examples=["utilities"])
    name: str = Field(examples=["Utilities building"])
    stage: str | None = Field(description="Production stage, its own or inherited.", examples=["array"])
    floor_area_m2: float | None = Field(description="[m2]", examples=[1200.0])
    assets: list[AssetNode]
    areas: list[AreaNode]


class PlantTree(_Answer):
    """The site, and everything in it."""

    name: str = Field(examples=["Demo fab"])
    time_zone: str = Field(examples=["Asia/Shanghai"])
    contract_demand_kw: float | None = Field(description="Demand agreed with the supplier [kW].", examples=[4500.0])
    carbon_region: str = Field(examples=["CN-national"])
    latitude: float | None = Field(description="[deg]", examples=[31.47])
    longitude: float | None = Field(description="[deg]", examples=[104.68])
    areas: list[AreaNode]


# --- values -------------------------------------------------------------------------------------------------------


class LatestValue(_Answer):
    """The newest known value of one quantity."""

    value: float | None = Field(
        description="null: its newest reading had no value, and quality says why.", examples=[412.5]
    )
    unit: str = Field(examples=["kW"])
    time: datetime = Field(description="When the meter said it.", examples=["2026-01-31T08:00:00.125Z"])
    age_s: float = Field(description="How long ago that was [s].", examples=[0.8])
    quality: list[str] = Field(description="Flags of its reading; empty is good.", examples=[["device_time"]])


class MeterLatest(_Answer):
    """The newest values of one meter."""

    meter: str = Field(examples=["cleanroom-feeder"])
    source: Literal["live", "database"] = Field(description="Where they come from: this process, or the database.")
    time: datetime | None = Field(description="The newest of the values' times; null: it never delivered.")
    age_s: float | None = Field(description="[s]", examples=[0.8])
    values: dict[str, LatestValue] = Field(description="By quantity; one that was never delivered is absent.")


class LatestList(_Answer):
    """The newest values of all meters."""

    meters: list[MeterLatest]


class ReadingPoint(_Answer):
    """One bucket: minimum, mean and maximum of a gauge, the last value of a counter."""

    time: datetime = Field(description="Begin of the bucket.", examples=["2026-01-31T08:00:00Z"])
    min: float | None = Field(default=None, examples=[410.0])
    avg: float | None = Field(default=None, description="Mean of the samples.", examples=[412.5])
    max: float | None = Field(default=None, examples=[415.0])
    last: float | None = Field(default=None, description="Of a counter.")


class QuantitySeries(_Answer):
    """The points of one quantity; a bucket without a value is absent."""

    quantity: str = Field(examples=["active_power_kw"])
    unit: str = Field(examples=["kW"])
    kind: Kind
    points: list[ReadingPoint]


class ReadingSeries(_Answer):
    """Readings of one meter, downsampled."""

    meter: str = Field(examples=["incomer"])
    from_: datetime = Field(alias="from", examples=["2026-01-31T08:00:00Z"])
    to: datetime = Field(examples=["2026-01-31T09:00:00Z"])
    bucket_s: int = Field(description="Width of a bucket [s]; the first begins at `from`.", examples=[10])
    series: list[QuantitySeries]


class IntervalPoint(_Answer):
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


class IntervalSeries(_Answer):
    """Intervals of one meter, in order; one of which nothing is stored is absent."""

    meter: str = Field(examples=["incomer"])
    tier: Tier = Field(description="Width: a minute, a quarter of an hour, or a local day of the site.")
    from_: datetime = Field(alias="from")
    to: datetime
    intervals: list[IntervalPoint]


class LiveEvent(_Answer):
    """One reading as it arrives."""

    meter: str = Field(examples=["incomer"])
    time: datetime = Field(examples=["2026-01-31T08:00:00.125Z"])
    values: dict[str, float | None] = Field(
        description="By quantity; null is a value that could not be read.", examples=[{"active_power_kw": 2875.5}]
    )
    quality: list[str] = Field(description="Flags; empty is good.", examples=[[]])


# --- energy and carbon --------------------------------------------------------------------------------------------


class FactorEntry(_Answer):
    """Emissions of one kWh of grid electricity."""

    region: str = Field(examples=["CN-national"])
    method: CarbonMethod
    kg_per_kwh: float = Field(description="[kgCO2/kWh]", examples=[0.5306])
    source: str = Field(examples=["Ministry of Ecology and Environment, 2025-12-31"])
    valid_from: datetime
    valid_to: datetime | None = Field(description="null: no end is known.")
    version: int = Field(description="Of several of one period the highest counts.", examples=[1])
    in_force: bool = Field(description="Whether it is the one that applies now, for its method.")


class FactorList(_Answer):
    """All factors of the site's region."""

    factors: list[FactorEntry]


class UsedFactor(_Answer):
    """A factor that went into a figure."""

    region: str = Field(examples=["CN"])
    method: CarbonMethod = Field(description="location, market (the supplier's) or residual.")
    version: int = Field(examples=[1])
    resolution: Literal["period", "hour"] = Field(description="One value, or one by the hour.")
    kg_per_kwh: float | None = Field(description="[kgCO2/kWh]; null for a series of hours.", examples=[0.5306])
    source: str = Field(examples=["Ministry of Ecology and Environment, 2025-12-31"])
    valid_from: datetime
    valid_to: datetime | None


class CarbonWindow(_Answer):
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


class _Rolling(_Answer):
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


# --- alarms -------------------------------------------------------------------------------------------------------


class AlarmEntry(_Answer):
    """An alarm with its present state."""

    alarm_id: int = Field(examples=[7])
    meter: str = Field(examples=["compressor-1-controller"])
    meter_name: str = Field(examples=["Compressor 1 controller"])
    rule: str = Field(description="Key of its rule.", examples=["discharge-temperature-high"])
    name: str = Field(examples=["Discharge temperature high"])
    priority: Priority
    condition: str = Field(description="The rule in words.", examples=["airend_temperature_c > 105 degC for 60 s"])
    advice: str = Field(description="What to do first.", examples=["Check the oil cooler."])
    state: AlarmState
    since: datetime = Field(description="When it entered this state.")
    value: float | None = Field(description="Value at the last transition, in the quantity's unit.", examples=[107.2])
    retired_at: datetime | None = Field(description="When its rule left the configuration.")


class AlarmList(_Answer):
    """Alarms; those that ask for a person come first."""

    alarms: list[AlarmEntry]
    total: int = Field(description="How many there are in all.", examples=[1])


class JournalEntry(_Answer):
    """One transition of an alarm."""

    journal_id: int = Field(examples=[21])
    time: datetime
    transition: Step
    from_state: AlarmState
    to_state: AlarmState
    value: float | None = Field(examples=[107.2])
    author: str | None = Field(description="Who acknowledged.", examples=["l.wei"])
    note: str = Field(examples=["Fan belt ordered."])


class AlarmJournal(_Answer):
    """The transitions of one alarm, the newest first."""

    alarm_id: int = Field(examples=[7])
    entries: list[JournalEntry]


# Line breaks are text; the other control characters, NUL above all, are none that a database or a terminal should get.
_NO_CONTROL_CHARACTERS = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"


class Acknowledgement(BaseModel):
    """Who has seen an alarm, and what they say of it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"author": "l.wei", "note": "On it."}]})

    author: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=_NO_CONTROL_CHARACTERS)
    ]
    note: Annotated[str, StringConstraints(max_length=2000, pattern=_NO_CONTROL_CHARACTERS)] = ""


# --- the service --------------------------------------------------------------------------------------------------


class Health(_Answer):
    """The process answers."""

    status: Literal["alive"]
    version: str = Field(examples=["0.1.0"])


class Readiness(_Answer):
    """Everything the service needs is there."""

    status: Literal["ready"]
    checked: list[str] = Field(examples=[["accounting", "connection substation", "database"]])


class FieldProblem(BaseModel):
    """One field of a request that is wrong."""

    field: str = Field(examples=["query.window.0"])
    problem: str
    cure: str
    value: str | None = Field(default=None, description="What was found there.")


class ProblemDetail(BaseModel):
    """An error after RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:emsd:problem:unknown-meter"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no meter 'incomr'; did you mean incomer?"])
    instance: str = Field(examples=["/api/v1/meters/incomr"])
    errors: list[FieldProblem] | None = None
    did_you_mean: list[str] | None = None
    not_ready: dict[str, str] | None = Field(default=None, description="By probe: why it is not ready.")
