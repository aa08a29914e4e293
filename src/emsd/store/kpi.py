"""Where the inputs of key figures come from: the mirror of the configuration, and reading it.

`emsd.store.kpi_inputs` holds the inputs themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg

from emsd.energy.kpi import STORED_INPUTS
from emsd.plant.kpi import AssetKpis, kpis_of_plant
from emsd.plant.loader import LoadedPlant
from emsd.plant.models import Plant
from emsd.plant.profile import Profile
from emsd.store.pool import Session

__all__ = [
    "AssetSources",
    "SourcePart",
    "asset_ids",
    "mark_last_day",
    "mirror_kpi",
    "read_sources",
    "sync_kpi",
]


@dataclass(frozen=True, slots=True)
class SourcePart:
    """One quantity of one meter that an input is made of."""

    meter_id: int
    meter_key: str
    quantity: str
    method: str


@dataclass(frozen=True, slots=True)
class AssetSources:
    """What is configured of an asset's key figures; see `emsd.plant.kpi.AssetKpis`."""

    sources: Mapping[str, Sequence[SourcePart]] = field(default_factory=dict)
    gaps: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)
    reference: Mapping[str, float] = field(default_factory=dict)


_ASSET_IDS: Final = "SELECT key, asset_id FROM asset WHERE site_id = $1 AND removed_at IS NULL"
_INSERT_SOURCE: Final = """
INSERT INTO kpi_source (asset_id, input, part, method, meter_id, quantity, stored)
VALUES ($1, $2, $3, $4, $5, $6, $7)"""
_INSERT_GAP: Final = "INSERT INTO kpi_gap (asset_id, input, reason) VALUES ($1, $2, $3)"
_INSERT_FACT: Final = "INSERT INTO kpi_fact (asset_id, kind, name, value) VALUES ($1, $2, $3, $4)"
_OLD_SOURCES: Final = """
SELECT asset_id, input, method, meter_id, quantity FROM kpi_source JOIN asset USING (asset_id)
WHERE site_id = $1 AND stored ORDER BY asset_id, input, part"""
_CLEAR: Final = "DELETE FROM {table} USING asset WHERE {table}.asset_id = asset.asset_id AND asset.site_id = $1"
# Without looking whether there are readings: a quarter hour without any is soon done, and looking is not.
_MARK_LAST_DAY: Final = """
INSERT INTO dirty_asset_quarter AS mark (asset_id, bucket)
SELECT asset_id, bucket
FROM unnest($1::integer[]) AS asset_id, generate_series(
    time_bucket('15 minutes', $2::timestamptz) - interval '1 day', $2::timestamptz, interval '15 minutes') AS bucket
ORDER BY 1, 2
ON CONFLICT (asset_id, bucket) DO UPDATE SET version = mark.version + 1
"""


async def asset_ids(connection: Session, site_id: int) -> dict[str, int]:
    """Return asset key -> asset_id of a site."""
    return {row["key"]: row["asset_id"] for row in await connection.fetch(_ASSET_IDS, site_id)}


async def mirror_kpi(
    connection: Session, plant: Plant, profiles: Mapping[str, Profile], meter_ids: Mapping[str, int]
) -> None:
    """Mirror what the key figures of a plant are made of, and mark the last day of the assets for which that changed.

    `meter_ids` holds the number of every meter, virtual ones too.
    """
    assets = kpis_of_plant(LoadedPlant(plant, profiles, Path()))
    changed = await sync_kpi(connection, plant.site.number, assets, meter_ids)
    await mark_last_day(connection, changed, datetime.now(UTC))


async def sync_kpi(
    connection: Session, site_id: int, assets: Mapping[str, AssetKpis], meter_ids: Mapping[str, int]
) -> list[int]:
    """Make the database mirror where the inputs come from; return the ids of assets whose inputs changed.

    What their last day holds should be marked with `mark_last_day`.
    """
    ids = await asset_ids(connection, site_id)
    before = _grouped(await connection.fetch(_OLD_SOURCES, site_id))
    for table in ("kpi_source", "kpi_gap", "kpi_fact"):
        await connection.execute(_CLEAR.format(table=table), site_id)
    sources, gaps, facts = [], [], []
    for key, each in assets.items():
        asset_id = ids[key]
        for name, source in each.sources.items():
            sources += [
                (
                    asset_id,
                    name,
                    place,
                    source.method.value,
                    meter_ids[part.meter],
                    part.quantity,
                    name in STORED_INPUTS,
                )
                for place, part in enumerate(source.parts)
            ]
        gaps += [(asset_id, name, reason) for name, reason in each.gaps.items()]
        facts += [(asset_id, "fact", name, value) for name, value in each.facts.items()]
        facts += [(asset_id, "reference", name, value) for name, value in each.reference.items()]
    await connection.executemany(_INSERT_SOURCE, sources)
    await connection.executemany(_INSERT_GAP, gaps)
    await connection.executemany(_INSERT_FACT, facts)
    after = _grouped(await connection.fetch(_OLD_SOURCES, site_id))
    return [asset_id for asset_id, made in after.items() if before.get(asset_id) != made]


async def mark_last_day(connection: Session, assets: Sequence[int], now: datetime) -> None:
    """Mark every quarter hour of the 24 hours before `now`; older quarter hours stay as they were computed."""
    if assets:
        await connection.execute(_MARK_LAST_DAY, list(assets), now)


def _grouped(rows: Iterable[asyncpg.Record]) -> dict[int, list[tuple[object, ...]]]:
    grouped: dict[int, list[tuple[object, ...]]] = {}
    for row in rows:
        asset_id, *rest = row.values()
        grouped.setdefault(asset_id, []).append(tuple(rest))
    return grouped


async def read_sources(connection: Session, site_id: int) -> dict[int, AssetSources]:
    """Return what is configured of the key figures of every asset that has some, by asset_id."""
    sources: dict[int, dict[str, list[SourcePart]]] = {}
    gaps: dict[int, dict[str, str]] = {}
    facts: dict[tuple[int, str], dict[str, float]] = {}
    for row in await connection.fetch(
        "SELECT kpi_source.asset_id, input, method, meter_id, meter.key AS meter_key, quantity"
        " FROM kpi_source JOIN meter USING (meter_id) WHERE site_id = $1 ORDER BY kpi_source.asset_id, input, part",
        site_id,
    ):
        part = SourcePart(row["meter_id"], row["meter_key"], row["quantity"], row["method"])
        sources.setdefault(row["asset_id"], {}).setdefault(row["input"], []).append(part)
    for row in await connection.fetch(
        "SELECT asset_id, input, reason FROM kpi_gap JOIN asset USING (asset_id) WHERE site_id = $1", site_id
    ):
        gaps.setdefault(row["asset_id"], {})[row["input"]] = row["reason"]
    for row in await connection.fetch(
        "SELECT asset_id, kpi_fact.kind, kpi_fact.name, value FROM kpi_fact JOIN asset USING (asset_id)"
        " WHERE site_id = $1",
        site_id,
    ):
        facts.setdefault((row["asset_id"], row["kind"]), {})[row["name"]] = row["value"]
    ids = {*sources, *gaps, *(asset_id for asset_id, _ in facts)}
    return {
        asset_id: AssetSources(
            sources.get(asset_id, {}),
            gaps.get(asset_id, {}),
            facts.get((asset_id, "fact"), {}),
            facts.get((asset_id, "reference"), {}),
        )
        for asset_id in ids
    }
