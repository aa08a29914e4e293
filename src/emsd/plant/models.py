"""The plant as a person describes it: one site, its areas, assets, connections, meters, carbon factors and alarms.

These models say what a document may contain; `emsd.plant.loader` reads files into them and turns every violation into a
Fault with file and line. All are frozen: a changed plant is a new Plant.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr

from emsd.plant.asset_kpi import AssetKpi
from emsd.plant.carbon import CarbonLedger
from emsd.plant.connections import Connection
from emsd.plant.entry import Entry, Key
from emsd.plant.mqtt_map import ZoneName
from emsd.plant.production import Production
from emsd.plant.tariff import Tariff
from emsd.plant.virtual_meters import Residual, VirtualMeter

__all__ = [
    "Alarm",
    "Area",
    "Asset",
    "AssetKind",
    "CarbonFactorEntry",
    "ContractDemandChange",
    "Meter",
    "NotificationTarget",
    "Plant",
    "Priority",
    "Site",
    "StaleAlarm",
    "ThresholdAlarm",
]


class ContractDemandChange(Entry):
    """A demand that is agreed from a certain day on."""

    valid_from: date = Field(description="First local day on which it applies.")
    contract_demand_kw: float = Field(gt=0, description="Demand agreed with the supplier from then on [kW].")


class Site(Entry):
    """One factory."""

    number: int = Field(
        default=1, ge=1, le=2000, description="Number in the fleet; meter ids start at number x 1,000,000."
    )
    name: str = Field(min_length=1, description="What people call the site.")
    time_zone: str = Field(description="IANA name, such as Asia/Shanghai or Europe/Berlin; local days follow it.")
    contract_demand_kw: float | None = Field(default=None, gt=0, description="Demand agreed with the supplier [kW].")
    contract_demand_changes: tuple[ContractDemandChange, ...] = Field(
        default=(), description="What it became later, in order of time; contract_demand_kw holds until the first."
    )
    demand_period_minutes: Literal[10, 15, 30, 60] = Field(
        default=15, description="Settlement period over which the supplier takes the mean power [min]."
    )
    carbon_region: str = Field(description="Region whose grid factors apply, as written in carbon_factors.")
    latitude: float | None = Field(default=None, ge=-90, le=90, description="Degrees, north positive.")
    longitude: float | None = Field(default=None, ge=-180, le=180, description="Degrees, east positive.")

    @property
    def zone(self) -> ZoneInfo:
        """The time zone as an object."""
        return ZoneInfo(self.time_zone)

    def contract_demand_at(self, day: date) -> float | None:
        """Return the demand that is agreed on a local day [kW], None when none is."""
        begun = [each.contract_demand_kw for each in self.contract_demand_changes if each.valid_from <= day]
        return begun[-1] if begun else self.contract_demand_kw


class CarbonFactorEntry(Entry):
    """Emissions of one kWh of grid electricity in one region over one period, with its source."""

    region: str = Field(description="Region it applies to; the site names one as carbon_region.")
    method: Literal["location", "market", "residual"] = Field(
        default="location",
        description="location: average of the grid; market: what your supplier states; residual: the grid without what"
        " others have claimed.",
    )
    valid_from: date = Field(description="First local day on which the factor applies.")
    valid_to: date | None = Field(
        default=None, description="First local day on which it no longer applies; absent: open."
    )
    kg_per_kwh: float = Field(ge=0, le=5, description="Emissions [kgCO2/kWh].")
    source: str = Field(min_length=3, description="Who published it, and when.")


class Area(Entry):
    """A node of the site's tree."""

    key: Key
    name: str = Field(description="What people call it.")
    parent: Key | None = Field(default=None, description="The area it belongs to; absent: the site itself.")
    stage: str | None = Field(default=None, description="Production stage; areas below inherit it.")
    floor_area_m2: float | None = Field(default=None, gt=0, description="Floor area [m2], for energy per area.")


class AssetKind(StrEnum):
    """What an asset is."""

    INCOMER = "incomer"
    CLEANROOM = "cleanroom"
    COMPRESSOR = "compressor"
    CHILLER = "chiller"
    PV_INVERTER = "pv_inverter"
    WEATHER_STATION = "weather_station"
    PROCESS_TOOL = "process_tool"
    PUMP = "pump"
    LIGHTING = "lighting"
    FEEDER = "feeder"
    OTHER = "other"


class Asset(Entry):
    """A piece of equipment; its meters say what it does."""

    key: Key
    name: str = Field(description="What people call it.")
    kind: AssetKind = Field(description="What it is; dashboards and alarms go by it.")
    area: Key
    rated_power_kw: float | None = Field(default=None, gt=0, description="Nameplate electrical power [kW].")
    kpi: AssetKpi | None = Field(default=None, description="What its key figures need beyond its meters.")


class Meter(Entry):
    """One physical data source: a Modbus unit or an MQTT device."""

    key: Key
    name: str = Field(description="What people call it.")
    asset: Key
    profile: str = Field(description="Name of the profile that says how its device model speaks.")
    connection: Key
    unit_id: int | None = Field(
        default=None, description="Unit of the Modbus device, 1..247; 255 or 0 for a device that answers for itself."
    )
    serial: str | None = Field(
        default=None, description="Serial number that the device must show; absent: the first that is seen counts."
    )
    topic: str | None = Field(default=None, description="MQTT topic, or its leading part, as the profile says.")
    time_zone: ZoneName | None = Field(
        default=None, description="Zone of the device's clock, when its messages carry local time without a zone."
    )
    parent: Key | None = Field(default=None, description="The energy meter upstream of this one.")
    poll_interval_s: float = Field(default=1.0, ge=0.1, le=3600, description="Time between two polls [s].")
    rated_power_kw: float | None = Field(
        default=None,
        gt=0,
        description="Largest plausible power [kW]; absent: that of the asset. 1.25 times it is still believed.",
    )
    max_gap_s: float = Field(
        default=300.0, gt=0, description="Longer gaps between samples are reported as estimated [s]."
    )
    residual: Residual | None = Field(default=None, description="What it counts and the meters below it do not.")


class Priority(StrEnum):
    """How soon a person must act; about 5 / 15 / 80 % of alarms should carry each (EEMUA 191)."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class _Alarm(Entry):
    key: Key
    name: str = Field(description="What the person who is called reads.")
    meters: tuple[Key, ...] = Field(default=(), description="Meters it watches.")
    asset_kind: AssetKind | None = Field(default=None, description="Or: every meter of assets of this kind.")
    priority: Priority = Field(default=Priority.LOW, description="How soon a person must act.")
    notify: tuple[Key, ...] = Field(default=(), description="Notification targets.")
    advice: str = Field(default="", description="What the person who is called should do first.")


class ThresholdAlarm(_Alarm):
    """Raised while a quantity stays beyond a limit for longer than its on-delay."""

    kind: Literal["threshold"] = Field(default="threshold", description="threshold.")
    quantity: str = Field(description="Quantity it watches, such as active_power_kw.")
    above: float | None = Field(default=None, description="Raise when the value exceeds this.")
    below: float | None = Field(default=None, description="Raise when the value falls under this.")
    deadband: float = Field(default=0.0, ge=0, description="How far the value must come back before the alarm returns.")
    on_delay_s: float = Field(default=0.0, ge=0, description="How long the value must stay beyond the limit [s].")


class StaleAlarm(_Alarm):
    """Raised when a meter has not delivered a reading for too long."""

    kind: Literal["stale"] = Field(default="stale", description="stale.")
    after_polls: int = Field(default=3, ge=1, description="Missing polls in a row; at least 5 s for fast meters.")


Alarm = Annotated[ThresholdAlarm | StaleAlarm, Field(discriminator="kind")]


class NotificationTarget(Entry):
    """Where on-call staff are reached, as an Apprise URL (mail, chat, SMS gateway, pager, webhook)."""

    key: Key
    url: SecretStr = Field(description="URL for Apprise; write ${NAME} and set NAME in the environment.")
    priorities: tuple[Priority, ...] = Field(default=tuple(Priority), description="Only alarms of these priorities.")


class Plant(Entry):
    """The whole document."""

    version: Literal[1] = Field(default=1, description="Version of this form of document.")
    site: Site = Field(description="The factory.")
    carbon_factors: tuple[CarbonFactorEntry, ...] = Field(
        default=(), description="Emissions of grid electricity, period by period."
    )
    carbon: CarbonLedger = Field(default=CarbonLedger(), description="How the carbon ledger is made.")
    tariffs: tuple[Tariff, ...] = Field(default=(), description="Contracts for electricity, one after the other.")
    areas: tuple[Area, ...] = Field(min_length=1, description="Buildings, lines and rooms.")
    assets: tuple[Asset, ...] = Field(min_length=1, description="Pieces of equipment.")
    connections: tuple[Connection, ...] = Field(min_length=1, description="Modbus endpoints and MQTT brokers.")
    meters: tuple[Meter, ...] = Field(default=(), description="Data sources; further ones may stand in meters_csv.")
    virtual_meters: tuple[VirtualMeter, ...] = Field(
        default=(), description="Sums and differences of other meters' energy."
    )
    production: Production | None = Field(default=None, description="Products, and when production rests.")
    meters_csv: tuple[str, ...] = Field(default=(), description="Lists of further meters, relative to this file.")
    profile_folders: tuple[str, ...] = Field(
        default=(), description="Folders with profiles of your own, relative to this file."
    )
    alarms: tuple[Alarm, ...] = Field(default=(), description="What on-call staff are called for.")
    notification_targets: tuple[NotificationTarget, ...] = Field(
        default=(), description="Where on-call staff are reached."
    )
