"""The plant as the database mirrors it: written from the configuration, read by whoever needs meters and their places.

Entries are known by their keys. What leaves the configuration keeps its row, its id and its history and gets
`removed_at`; what comes back gets its old id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

import structlog

from emsd.errors import StoreError
from emsd.plant.derived import DERIVED_OFFSET, all_meters
from emsd.plant.models import Area, Meter, Plant
from emsd.plant.profile import Profile
from emsd.store.carbon_meters import sync_carbon_meters
from emsd.store.carbon_settings import write_carbon_settings
from emsd.store.kpi import mirror_kpi
from emsd.store.pool import Pool, Session, session
from emsd.store.production import sync_production
from emsd.store.tariff import sync_tariffs
from emsd.store.virtual_meters import sync_virtual_meters

__all__ = ["METER_IDS_PER_SITE", "MeterRow", "load_meters", "local_midnight", "sync_plant"]

log = structlog.get_logger(__name__)

METER_IDS_PER_SITE: Final = 1_000_000

# The row of the site is the lock: two processes that write the same plant take turns here.
UPSERT_SITE: Final = """
INSERT INTO site (site_id, name, time_zone, contract_demand_kw, carbon_region, latitude, longitude)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (site_id) DO UPDATE SET name = excluded.name, time_zone = excluded.time_zone,
    contract_demand_kw = excluded.contract_demand_kw, carbon_region = excluded.carbon_region,
    latitude = excluded.latitude, longitude = excluded.longitude"""

UPSERT_AREA: Final = """
INSERT INTO area (site_id, key, name, stage, floor_area_m2) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (site_id, key) DO UPDATE SET name = excluded.name, stage = excluded.stage,
    floor_area_m2 = excluded.floor_area_m2, removed_at = NULL"""
SET_PARENT_AREA: Final = """
UPDATE area SET parent_area_id = (SELECT area_id FROM area WHERE site_id = $1 AND key = $3)
WHERE site_id = $1 AND key = $2"""

UPSERT_ASSET: Final = """
INSERT INTO asset (site_id, key, name, kind, rated_power_kw, area_id)
VALUES ($1, $2, $3, $4, $5, (SELECT area_id FROM area WHERE site_id = $1 AND key = $6))
ON CONFLICT (site_id, key) DO UPDATE SET name = excluded.name, kind = excluded.kind,
    rated_power_kw = excluded.rated_power_kw, area_id = excluded.area_id, removed_at = NULL"""

METER_IDS: Final = "SELECT key, meter_id FROM meter WHERE site_id = $1 AND kind <> 'derived'"
UPSERT_METER: Final = """
INSERT INTO meter (meter_id, site_id, key, name, profile, connection, address, measures_energy, poll_interval_s,
    rated_power_kw, max_gap_s, asset_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
    (SELECT asset_id FROM asset WHERE site_id = $2 AND key = $12))
ON CONFLICT (site_id, key) DO UPDATE SET name = excluded.name, profile = excluded.profile,
    connection = excluded.connection, address = excluded.address, measures_energy = excluded.measures_energy,
    poll_interval_s = excluded.poll_interval_s, rated_power_kw = excluded.rated_power_kw,
    max_gap_s = excluded.max_gap_s, asset_id = excluded.asset_id, removed_at = NULL"""

REMOVE_METERS: Final = """
UPDATE meter SET removed_at = now()
WHERE site_id = $1 AND kind <> 'derived' AND removed_at IS NULL AND key <> ALL($2::text[])"""
REMOVE_ASSETS: Final = """
UPDATE asset SET removed_at = now() WHERE site_id = $1 AND removed_at IS NULL AND key <> ALL($2::text[])"""
REMOVE_AREAS: Final = """
UPDATE area SET removed_at = now() WHERE site_id = $1 AND removed_at IS NULL AND key <> ALL($2::text[])"""

# A row that says the same as the latest version adds nothing; one that differs becomes the next version.
ADD_FACTOR: Final = """
INSERT INTO carbon_factor (region, method, valid_from, valid_to, kg_per_kwh, source, version)
SELECT $1, $2, $3, $4, $5, $6, coalesce(max(version), 0) + 1
FROM carbon_factor WHERE region = $1 AND method = $2 AND valid_from = $3
HAVING NOT coalesce(
    (array_agg((valid_to, kg_per_kwh, source, withdrawn_at) IS NOT DISTINCT FROM ($4, $5, $6, NULL)
        ORDER BY version DESC))[1], false)"""
# What has left the file counts for nothing, in all of its versions; its row stays, because figures were made with it.
WITHDRAW_FACTORS: Final = """
UPDATE carbon_factor SET withdrawn_at = now()
WHERE withdrawn_at IS NULL AND region = ANY($1::text[]) AND NOT EXISTS (
    SELECT FROM unnest($2::text[], $3::text[], $4::timestamptz[]) AS kept (region, method, valid_from)
    WHERE (kept.region, kept.method, kept.valid_from)
        = (carbon_factor.region, carbon_factor.method, carbon_factor.valid_from))"""

LOAD_METERS: Final = """
SELECT meter_id, meter.key, meter.name, profile, connection, address, parent_meter_id, measures_energy, poll_interval_s,
    meter.rated_power_kw, max_gap_s, asset.key AS asset_key, asset.kind AS asset_kind, area.key AS area_key, area.stage,
    meter.removed_at
FROM meter JOIN asset USING (asset_id) JOIN area USING (area_id)
WHERE meter.site_id = $1 AND meter.kind <> 'derived' AND ($2 OR meter.removed_at IS NULL)
ORDER BY meter_id"""


@dataclass(frozen=True, slots=True)
class MeterRow:
    """One meter with its place in the plant; `stage` is the area's own or inherited."""

    meter_id: int
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
    asset_key: str
    asset_kind: str
    area_key: str
    stage: str | None
    removed_at: datetime | None


async def sync_plant(pool: Pool, plant: Plant, profiles: Mapping[str, Profile]) -> dict[str, int]:
    """Make the database mirror `plant`, in one transaction, and return meter key -> meter_id, without virtual meters.

    `profiles` holds every profile that a meter of the plant names.

    Raises:
        StoreUnavailable: the database cannot be reached now.
        StoreError: the site has used up its million meter ids, or a person must act.
    """
    site = plant.site
    async with session(pool, "write the plant") as connection, connection.transaction():
        await connection.execute(
            UPSERT_SITE,
            site.number,
            site.name,
            site.time_zone,
            site.contract_demand_kw,
            site.carbon_region,
            site.latitude,
            site.longitude,
        )
        await _sync_areas(connection, site.number, plant.areas)
        await connection.executemany(
            UPSERT_ASSET,
            [
                (site.number, each.key, each.name, each.kind.value, each.rated_power_kw, each.area)
                for each in plant.assets
            ],
        )
        meter_ids = await _sync_meters(connection, plant, profiles)
        removed = _rows(await connection.execute(REMOVE_METERS, site.number, list(meter_ids)))
        await connection.execute(REMOVE_ASSETS, site.number, [asset.key for asset in plant.assets])
        await connection.execute(REMOVE_AREAS, site.number, [area.key for area in plant.areas])
        await _sync_carbon_factors(connection, plant)
        await write_carbon_settings(connection, site.number, plant.carbon)
        await sync_tariffs(connection, plant)
        await mirror_kpi(connection, plant, profiles, meter_ids)
        await sync_production(connection, site.number, plant.production)
        await sync_carbon_meters(connection, site.number)
    log.info("plant_written", site=site.number, meters=len(meter_ids), meters_removed=removed)
    return {meter.key: meter_ids[meter.key] for meter in plant.meters}


async def load_meters(pool: Pool, site_id: int, *, include_removed: bool = False) -> list[MeterRow]:
    """Return the meters of a site in order of their ids, virtual ones too, without derived ones.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "read the meters") as connection:
        records = await connection.fetch(LOAD_METERS, site_id, include_removed)
    return [MeterRow(**record) for record in records]


def local_midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant of a local day, in UTC; where clocks skip midnight, the instant they skip it."""
    return datetime.combine(day, time.min, zone).astimezone(UTC)


async def _sync_areas(connection: Session, site_id: int, areas: Sequence[Area]) -> None:
    by_key = {area.key: area for area in areas}
    await connection.executemany(
        UPSERT_AREA, [(site_id, area.key, area.name, _stage(area, by_key), area.floor_area_m2) for area in areas]
    )
    await connection.executemany(SET_PARENT_AREA, [(site_id, area.key, area.parent) for area in areas])


def _stage(area: Area, by_key: Mapping[str, Area]) -> str | None:
    """The stage of an area: its own, or that of the nearest area above that has one."""
    above: Area | None = area
    while above is not None:
        if above.stage is not None:
            return above.stage
        above = by_key[above.parent] if above.parent is not None else None
    return None


async def _sync_meters(connection: Session, plant: Plant, profiles: Mapping[str, Profile]) -> dict[str, int]:
    site_id = plant.site.number
    known: dict[str, int] = {row["key"]: row["meter_id"] for row in await connection.fetch(METER_IDS, site_id)}
    next_id = max(known.values(), default=site_id * METER_IDS_PER_SITE) + 1
    ids: dict[str, int] = {}
    for each in all_meters(plant):
        if each.key in known:
            ids[each.key] = known[each.key]
        else:
            ids[each.key] = next_id
            next_id += 1
    if next_id > site_id * METER_IDS_PER_SITE + DERIVED_OFFSET:
        raise StoreError(f"site {site_id} has used up its {DERIVED_OFFSET - 1} meter ids; give it a new site number")
    rated = {asset.key: asset.rated_power_kw for asset in plant.assets}
    await connection.executemany(
        UPSERT_METER,
        [
            (
                ids[meter.key],
                site_id,
                meter.key,
                meter.name,
                meter.profile,
                meter.connection,
                _address(meter),
                profiles[meter.profile].measures_energy,
                meter.poll_interval_s,
                meter.rated_power_kw if meter.rated_power_kw is not None else rated[meter.asset],
                meter.max_gap_s,
                meter.asset,
            )
            for meter in plant.meters
        ],
    )
    await sync_virtual_meters(connection, plant, profiles, ids)
    return ids


def _address(meter: Meter) -> str:
    """The unit id or the topic, for people."""
    if meter.unit_id is not None:
        return f"unit {meter.unit_id}"
    return meter.topic or ""


async def _sync_carbon_factors(connection: Session, plant: Plant) -> None:
    zone = plant.site.zone
    factors = plant.carbon_factors
    await connection.execute(
        WITHDRAW_FACTORS,
        sorted({plant.site.carbon_region, *(each.region for each in factors)}),
        [each.region for each in factors],
        [each.method for each in factors],
        [local_midnight(each.valid_from, zone) for each in factors],
    )
    await connection.executemany(
        ADD_FACTOR,
        [
            (
                each.region,
                each.method,
                local_midnight(each.valid_from, zone),
                local_midnight(each.valid_to, zone) if each.valid_to is not None else None,
                each.kg_per_kwh,
                each.source,
            )
            for each in factors
        ],
    )


def _rows(tag: str) -> int:
    """The number in PostgreSQL's command tag, `UPDATE 3`."""
    return int(tag.rpartition(" ")[2])
