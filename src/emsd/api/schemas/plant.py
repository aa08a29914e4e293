"""The plant as the API tells it: areas, assets, meters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from emsd.api.schemas.answer import Answer

__all__ = ["AreaNode", "AssetNode", "MeterDetail", "MeterList", "MeterNode", "PlantTree"]


class MeterNode(Answer):
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


class MeterList(Answer):
    """All meters of the site."""

    meters: list[MeterDetail]


class AssetNode(Answer):
    """A piece of equipment and its meters."""

    key: str = Field(examples=["compressor-1"])
    name: str = Field(examples=["Compressor 1"])
    kind: str = Field(examples=["compressor"])
    rated_power_kw: float | None = Field(description="[kW]", examples=[250.0])
    meters: list[MeterNode]


class AreaNode(Answer):
    """A node of the site's tree."""

    key: str = Field(examples=["utilities"])
    name: str = Field(examples=["Utilities building"])
    stage: str | None = Field(description="Production stage, its own or inherited.", examples=["array"])
    floor_area_m2: float | None = Field(description="[m2]", examples=[1200.0])
    assets: list[AssetNode]
    areas: list[AreaNode]


class PlantTree(Answer):
    """The site, and everything in it."""

    name: str = Field(examples=["Demo fab"])
    time_zone: str = Field(examples=["Asia/Shanghai"])
    contract_demand_kw: float | None = Field(description="Demand agreed with the supplier [kW].", examples=[4500.0])
    carbon_region: str = Field(examples=["CN-national"])
    latitude: float | None = Field(description="[deg]", examples=[31.47])
    longitude: float | None = Field(description="[deg]", examples=[104.68])
    areas: list[AreaNode]
