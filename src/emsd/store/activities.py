"""Activities of Scope 1: appended to only; a later version of a reference replaces the one before, which stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Final, Literal, TypeAlias

import asyncpg

from emsd.energy.ledger.activities import Activity, emitted_kg, resolve
from emsd.energy.ledger.exact import CONTEXT
from emsd.energy.ledger.gwp import GWP_SETS
from emsd.errors import LedgerRefused, UnknownEntry
from emsd.store.pool import Pool, Session, session

__all__ = ["ActivityRow", "Entered", "add_activities", "list_activities", "read_activities"]

Entered: TypeAlias = Literal["added", "replaced", "unchanged"]

_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('carbon_activity'), $1)"
_COLUMNS: Final = """activity.reference, activity.version, activity.kind, substance, process, period_from, period_to,
    area.key AS area, asset.key AS asset, amount, unit, heel, utilization, abated_share, destruction,
    factor_kg_per_unit, factor_source, document, author, note, is_void"""
_FROM: Final = """FROM carbon_activity AS activity
LEFT JOIN area USING (area_id) LEFT JOIN asset USING (asset_id)"""
# What was entered for an asset alone counts in the area that the asset is in.
_AREA_OF_ASSET: Final = "(SELECT key FROM area AS place WHERE place.area_id = asset.area_id)"
_IN_FORCE: Final = """NOT EXISTS (
    SELECT FROM carbon_activity AS later WHERE later.site_id = activity.site_id
        AND later.reference = activity.reference AND later.version > activity.version)"""
_LATEST: Final = f"SELECT {_COLUMNS} {_FROM} WHERE activity.site_id = $1 AND activity.reference = $2 AND {_IN_FORCE}"
_TOUCHING: Final = f"""SELECT {_COLUMNS.replace("area.key", f"coalesce(area.key, {_AREA_OF_ASSET})")} {_FROM}
WHERE activity.site_id = $1 AND period_from < $3 AND period_to > $2 AND NOT is_void AND {_IN_FORCE}
ORDER BY period_from, activity.reference"""
_ALL: Final = f"""SELECT {_COLUMNS}, activity_id, recorded_at, kg_ar4, kg_ar5, kg_ar6, {_IN_FORCE} AS in_force {_FROM}
WHERE activity.site_id = $1 AND ($2 OR ({_IN_FORCE} AND NOT is_void))
    AND ($3::timestamptz IS NULL OR period_to > $3) AND ($4::timestamptz IS NULL OR period_from < $4)
ORDER BY period_from DESC, activity.reference, activity.version DESC LIMIT $5 OFFSET $6"""
_ADD: Final = """
INSERT INTO carbon_activity (site_id, reference, version, kind, substance, process, period_from, period_to, area_id,
    asset_id, amount, unit, heel, utilization, abated_share, destruction, factor_kg_per_unit, factor_source, document,
    author, note, is_void, kg_ar4, kg_ar5, kg_ar6)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, (SELECT area_id FROM area WHERE site_id = $1 AND key = $9),
    (SELECT asset_id FROM asset WHERE site_id = $1 AND key = $10), $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
    $21, $22, $23, $24, $25)"""
_KNOWN: Final = {
    "area": "SELECT key FROM area WHERE site_id = $1",
    "asset": "SELECT key FROM asset WHERE site_id = $1",
}


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """An activity as it stands in the ledger; kg_co2e by GWP set, as computed when it was entered."""

    activity: Activity
    activity_id: int
    recorded_at: datetime
    in_force: bool
    kg_co2e: dict[str, Decimal]


async def add_activities(
    pool: Pool, site_id: int, activities: Sequence[Activity], *, replace: bool = False
) -> list[Entered]:
    """Enter activities, all or none; say of each what became of it.

    One that says the same as its reference's latest version is left out; one that says something else replaces it, if
    `replace` allows that. Their versions are assigned here.

    Raises:
        LedgerRefused: a reference is in the ledger already with another content.
        UnknownEntry: an area or asset is not in the plant.
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "enter activities") as connection, connection.transaction():
        await connection.execute(_LOCK, site_id)
        for field, query in _KNOWN.items():
            known = {row["key"] for row in await connection.fetch(query, site_id)}
            for each in activities:
                name = getattr(each, field)
                if name is not None and name not in known:
                    raise UnknownEntry(f"activity {each.reference}: there is no {field} {name!r} in the plant")
        return [await _add(connection, site_id, each, replace=replace) for each in activities]


async def _add(connection: Session, site_id: int, new: Activity, *, replace: bool) -> Entered:
    row = await connection.fetchrow(_LATEST, site_id, new.reference)
    latest = None if row is None else _activity(row)
    if latest is not None and new.model_copy(update={"version": latest.version, "author": latest.author}) == latest:
        return "unchanged"
    if latest is not None and not replace:
        raise LedgerRefused(
            f"activity {new.reference} is in the ledger already, with another content; say that this one replaces it"
        )
    version = 1 if latest is None else latest.version + 1
    await connection.execute(
        _ADD, site_id, new.reference, version, new.kind, new.substance, new.process, new.period_from, new.period_to,
        new.area, new.asset, new.amount, new.unit, new.heel, new.utilization, new.abated_share, new.destruction,
        new.factor_kg_per_unit, new.factor_source, new.document, new.author, new.note, new.is_void,
        *_kg_by_gwp_set(new),
    )  # fmt: skip
    return "added" if latest is None else "replaced"


def _kg_by_gwp_set(activity: Activity) -> list[Decimal]:
    kgs = []
    with localcontext(CONTEXT):
        for gwp_set in GWP_SETS:
            resolved = resolve(activity, gwp_set)
            kgs.append(sum((emitted_kg(resolved, term) * term.gwp for term in resolved.terms), Decimal(0)))
    return kgs


async def list_activities(
    pool: Pool,
    site_id: int,
    *,
    from_: datetime | None = None,
    to: datetime | None = None,
    all_versions: bool = False,
    limit: int = 100,
    offset: int = 0,
) -> list[ActivityRow]:
    """Return activities whose period touches [from_, to), the latest first.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "list the activities") as connection:
        rows = await connection.fetch(_ALL, site_id, all_versions, from_, to, limit, offset)
    return [
        ActivityRow(
            activity=_activity(row),
            activity_id=row["activity_id"],
            recorded_at=row["recorded_at"],
            in_force=row["in_force"],
            kg_co2e={gwp_set: row[f"kg_{gwp_set.lower()}"] for gwp_set in GWP_SETS},
        )
        for row in rows
    ]


async def read_activities(connection: Session, site_id: int, from_: datetime, to: datetime) -> list[Activity]:
    """Return the activities in force whose period touches [from_, to)."""
    return [_activity(row) for row in await connection.fetch(_TOUCHING, site_id, from_, to)]


def _activity(row: asyncpg.Record) -> Activity:
    return Activity(**{name: row[name] for name in Activity.model_fields})
