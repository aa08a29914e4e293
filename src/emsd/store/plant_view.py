"""The plant as the database mirrors it, read whole: a site has hundreds of rows, not millions."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal
from zoneinfo import ZoneInfo

from emsd.errors import StoreError
from emsd.store.pool import Pool, Session
from emsd.store.reads import snapshot

__all__ = ["AreaRow", "AssetRow", "MeterRow", "PlantView", "SiteRow", "plant_view_of", "read_plant_view"]


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
    """A data source; `parent_meter_id` is the energy meter upstream.

    kind              device; virtual: computed of other meters; derived: what is computed of one meter every minute
    counts            whether its energy is part of sums; not so of a virtual meter that is a view on others
    residual_kind     losses or unmetered_load: what the residual of its bus is; None where nobody said
    residual_low_..., residual_high_...  usual residual, in percent of what came onto the bus and in kW
    """

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
    kind: Literal["device", "virtual", "derived"] = "device"
    counts: bool = True
    derived_from: int | None = None
    residual_kind: Literal["losses", "unmetered_load"] | None = None
    residual_low_percent: float | None = None
    residual_high_percent: float | None = None
    residual_low_kw: float | None = None
    residual_high_kw: float | None = None


@dataclass(frozen=True)
class PlantView:
    """What is configured now; entries that left the configuration are not in it. All mappings are by id.

    `inputs` are the meters that a virtual meter is made of, with their factors.
    """

    site: SiteRow
    areas: Mapping[int, AreaRow]
    assets: Mapping[int, AssetRow]
    meters: Mapping[int, MeterRow]
    inputs: Mapping[int, Mapping[int, float]] = field(default_factory=dict)

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
        """Yield the ids of the meters upstream, nearest first; a loop in the data ends it.

        Below a virtual meter, what flows has come through the meters that it is the sum of.
        """
        seen = {meter_id}
        waiting = deque([meter_id])
        while waiting:
            each = waiting.popleft()
            meter = self.meters.get(each)
            above = [] if meter is None or meter.parent_meter_id is None else [meter.parent_meter_id]
            if each != meter_id:
                above += [source for source, factor in self.inputs.get(each, {}).items() if factor > 0]
            for found in above:
                if found not in seen:
                    seen.add(found)
                    waiting.append(found)
                    yield found

    @cached_property
    def buses(self) -> Mapping[int, tuple[MeterRow, ...]]:
        """The energy meters directly below each meter that has some, by its id; virtual ones where they count."""
        below: dict[int, list[MeterRow]] = {}
        for meter in self.meters.values():
            parent_id = meter.parent_meter_id
            if meter.measures_energy and meter.counts and parent_id is not None and parent_id in self.meters:
                below.setdefault(parent_id, []).append(meter)
        return {meter_id: tuple(children) for meter_id, children in below.items()}

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
        return await plant_view_of(connection, site_id)


async def plant_view_of(connection: Session, site_id: int) -> PlantView:
    """Read the plant of one site in the caller's transaction.

    Raises:
        StoreError: the database knows no such site.
    """
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
        " poll_interval_s, rated_power_kw, max_gap_s, kind, counts, derived_from, residual_kind,"
        " residual_low_percent, residual_high_percent, residual_low_kw, residual_high_kw FROM meter"
        " WHERE site_id = $1 AND removed_at IS NULL ORDER BY meter_id",
        site_id,
    )
    sources = await connection.fetch(
        "SELECT meter_id, input_meter_id, factor FROM virtual_meter_input JOIN meter USING (meter_id)"
        " WHERE site_id = $1 AND kind = 'virtual' AND removed_at IS NULL",
        site_id,
    )
    inputs: dict[int, dict[int, float]] = {}
    for row in sources:
        inputs.setdefault(row["meter_id"], {})[row["input_meter_id"]] = row["factor"]
    return PlantView(
        SiteRow(**dict(site)),
        {row["area_id"]: AreaRow(**dict(row)) for row in areas},
        {row["asset_id"]: AssetRow(**dict(row)) for row in assets},
        {row["meter_id"]: MeterRow(**dict(row)) for row in meters},
        inputs,
    )
