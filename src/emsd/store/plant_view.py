"""The plant as the database mirrors it, read whole: a site has hundreds of rows, not millions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from zoneinfo import ZoneInfo

from emsd.errors import StoreError
from emsd.store.pool import Pool
from emsd.store.reads import snapshot

__all__ = ["AreaRow", "AssetRow", "MeterRow", "PlantView", "SiteRow", "read_plant_view"]


@dataclass(frozen=True, slots=True)
class SiteRow:
    """The site; see table site."""

    site_id: int
    name: str
    time_zone: str
    contract_demand_kw: float | None
    carbon_region: str
    latitude: float | None
    longitude: float | None


@dataclass(frozen=True, slots=True)
class AreaRow:
    """A node of the site's tree; `stage` is its own or inherited."""

    area_id: int
    key: str
    name: str
    parent_area_id: int | None
    stage: str | None
    floor_area_m2: float | None


@dataclass(frozen=True, slots=True)
class AssetRow:
    """A piece of equipment."""

    asset_id: int
    area_id: int
    key: str
    name: str
    kind: str
    rated_power_kw: float | None


@dataclass(frozen=True, slots=True)
class MeterRow:
    """A data source; `parent_meter_id` is the energy meter upstream."""

    meter_id: int
    asset_id: int
    key: str
    name: str
    profile: str
    connection: str
    address: str
    parent_meter_id: int | None
    measures_energy: bool
    poll_interval_s: float
    rated_power_kw: float | None
    max_gap_s: float


@dataclass(frozen=True)
class PlantView:
    """What is configured now; entries that left the configuration are not in it. All mappings are by id."""

    site: SiteRow
    areas: Mapping[int, AreaRow]
    assets: Mapping[int, AssetRow]
    meters: Mapping[int, MeterRow]

    @cached_property
    def zone(self) -> ZoneInfo:
        """The site's time zone."""
        return ZoneInfo(self.site.time_zone)

    @cached_property
    def meter_by_key(self) -> Mapping[str, MeterRow]:
        """Meters by key."""
        return {meter.key: meter for meter in self.meters.values()}

    @cached_property
    def area_by_key(self) -> Mapping[str, AreaRow]:
        """Areas by key."""
        return {area.key: area for area in self.areas.values()}

    @cached_property
    def energy_meter_ids(self) -> tuple[int, ...]:
        """Meters for which intervals are kept."""
        return tuple(meter.meter_id for meter in self.meters.values() if meter.measures_energy)

    def ancestors(self, meter_id: int) -> Iterator[int]:
        """Yield the ids of the meters upstream, nearest first; a loop in the data ends it."""
        seen = {meter_id}
        meter = self.meters.get(meter_id)
        while meter is not None and meter.parent_meter_id is not None and meter.parent_meter_id not in seen:
            seen.add(meter.parent_meter_id)
            yield meter.parent_meter_id
            meter = self.meters.get(meter.parent_meter_id)

    def areas_above(self, area_id: int) -> Iterator[AreaRow]:
        """Yield an area and those that it lies in, the innermost first; a loop in the data ends it."""
        seen: set[int] = set()
        area = self.areas.get(area_id)
        while area is not None and area.area_id not in seen:
            seen.add(area.area_id)
            yield area
            area = None if area.parent_area_id is None else self.areas.get(area.parent_area_id)

    def asset_of(self, meter: MeterRow) -> AssetRow | None:
        """The asset of a meter; None when the asset has left the configuration before its meter."""
        return self.assets.get(meter.asset_id)


async def read_plant_view(pool: Pool, site_id: int) -> PlantView:
    """Read the plant of one site at one instant.

    Raises:
        StoreError: the database knows no such site.
        StoreUnavailable: the database cannot be reached now.
    """
    async with snapshot(pool, "read the plant") as connection:
        site = await connection.fetchrow(
            "SELECT site_id, name, time_zone, contract_demand_kw, carbon_region, latitude, longitude"
            " FROM site WHERE site_id = $1",
            site_id,
        )
        if site is None:
            raise StoreError(f"the database knows no site {site_id}; start the service once, or run `emsd migrate`")
        areas = await connection.fetch(
            "SELECT area_id, key, name, parent_area_id, stage, floor_area_m2 FROM area"
            " WHERE site_id = $1 AND removed_at IS NULL ORDER BY area_id",
            site_id,
        )
        assets = await connection.fetch(
            "SELECT asset_id, area_id, key, name, kind, rated_power_kw FROM asset"
            " WHERE site_id = $1 AND removed_at IS NULL ORDER BY asset_id",
            site_id,
        )
        meters = await connection.fetch(
            "SELECT meter_id, asset_id, key, name, profile, connection, address, parent_meter_id, measures_energy,"
            " poll_interval_s, rated_power_kw, max_gap_s FROM meter"
            " WHERE site_id = $1 AND removed_at IS NULL ORDER BY meter_id",
            site_id,
        )
    return PlantView(
        SiteRow(**dict(site)),
        {row["area_id"]: AreaRow(**dict(row)) for row in areas},
        {row["asset_id"]: AssetRow(**dict(row)) for row in assets},
        {row["meter_id"]: MeterRow(**dict(row)) for row in meters},
    )
