"""Products, what was made of them, and the energy of the areas that made it.

Counts are a ledger: only ever appended to, a correction is a new version under the same external_id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from emsd.energy.ledger.gwp import GwpSet
from emsd.errors import UnknownProduct
from emsd.plant.production import AreaAllocation, IdleTime, ProductCounter, Production
from emsd.store.pool import Pool, Session, session
from emsd.store.reads import READ_TIMEOUT_S

__all__ = [
    "CountRow",
    "Imported",
    "NewCount",
    "ProductRow",
    "ProductionView",
    "add_counts",
    "list_counts",
    "read_counted",
    "read_gwp_set",
    "read_production",
    "sync_production",
]


@dataclass(frozen=True, slots=True)
class ProductRow:
    """A product; `passes` is stage -> mask passes, in the order of the line."""

    product_id: int
    key: str
    name: str
    area_m2: float
    passes: Mapping[str, float]
    removed_at: datetime | None


@dataclass(frozen=True, slots=True)
class ProductionView:
    """What is configured of production, products that have left the configuration included."""

    products: Mapping[str, ProductRow] = field(default_factory=dict)
    allocation: Sequence[AreaAllocation] = ()
    idle_times: Sequence[IdleTime] = ()
    counters: Sequence[ProductCounter] = ()


@dataclass(frozen=True, slots=True)
class NewCount:
    """Units of one product that went through a stage, or the whole line, over [from_time, to_time).

    good_units  None: not known at this place
    withdrawn   the earlier versions under this external_id were a mistake
    """

    external_id: str
    product: str
    from_time: datetime
    to_time: datetime
    units: float
    good_units: float | None = None
    stage: str | None = None
    withdrawn: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class CountRow:
    """A count that holds now, or one of its earlier versions."""

    count_id: int
    external_id: str
    version: int
    product: str
    stage: str | None
    from_time: datetime
    to_time: datetime
    units: float
    good_units: float | None
    withdrawn: bool
    author: str
    note: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a list of counts; the three add up to its length."""

    added: int
    corrected: int
    unchanged: int


# --- the mirror of the configuration ------------------------------------------------------------------------------

_UPSERT_PRODUCT: Final = """
INSERT INTO product (site_id, key, name, area_m2, passes, place) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (site_id, key) DO UPDATE SET name = excluded.name, area_m2 = excluded.area_m2, passes = excluded.passes,
    place = excluded.place, removed_at = NULL"""
_REMOVE_PRODUCTS: Final = """
UPDATE product SET removed_at = now() WHERE site_id = $1 AND removed_at IS NULL AND key <> ALL($2::text[])"""
_UPSERT_SITE: Final = """
INSERT INTO site_production (site_id, allocation, idle_times, counters) VALUES ($1, $2, $3, $4)
ON CONFLICT (site_id) DO UPDATE SET allocation = excluded.allocation, idle_times = excluded.idle_times,
    counters = excluded.counters"""


async def sync_production(connection: Session, site_id: int, production: Production | None) -> None:
    """Make the database mirror the products; those that are gone keep their rows, and with them their history."""
    said = production or Production()
    await connection.executemany(
        _UPSERT_PRODUCT,
        [
            # A list of pairs, since jsonb does not keep the order of an object's members.
            (site_id, each.key, each.name, each.area_m2, json.dumps(list(each.passes.items())), place)
            for place, each in enumerate(said.products)
        ],
    )
    await connection.execute(_REMOVE_PRODUCTS, site_id, [each.key for each in said.products])
    lists = (
        json.dumps([each.model_dump(mode="json") for each in entries])
        for entries in (said.allocation, said.idle_times, said.counters)
    )
    await connection.execute(_UPSERT_SITE, site_id, *lists)


async def read_production(connection: Session, site_id: int) -> ProductionView:
    """Return what is configured of production at a site."""
    rows = await connection.fetch(
        "SELECT product_id, key, name, area_m2, passes, removed_at FROM product WHERE site_id = $1 ORDER BY place, key",
        site_id,
    )
    said = await connection.fetchrow(
        "SELECT allocation, idle_times, counters FROM site_production WHERE site_id = $1", site_id
    )
    products = {row["key"]: ProductRow(**{**dict(row), "passes": dict(json.loads(row["passes"]))}) for row in rows}
    if said is None:
        return ProductionView(products)
    return ProductionView(
        products,
        [AreaAllocation.model_validate(each) for each in json.loads(said["allocation"])],
        [IdleTime.model_validate(each) for each in json.loads(said["idle_times"])],
        [ProductCounter.model_validate(each) for each in json.loads(said["counters"])],
    )


async def read_counted(
    connection: Session, site_id: int, counters: Sequence[ProductCounter], from_: datetime, to: datetime
) -> list[NewCount]:
    """Return what piece counters counted over [from_, to), full quarter hours; those that said nothing are left out."""
    rows = await connection.fetch(_COUNTED, site_id, [each.asset for each in counters], from_, to)
    sums = {row["key"]: row for row in rows}
    return [
        NewCount(
            external_id=f"counter of {each.asset}",
            product=each.product,
            stage=each.stage,
            from_time=from_,
            to_time=to,
            units=sums[each.asset]["pieces"],
            good_units=sums[each.asset]["good_pieces"],
        )
        for each in counters
        if each.asset in sums and sums[each.asset]["pieces"] is not None
    ]


_COUNTED: Final = """
SELECT asset.key, sum(pieces) AS pieces, sum(good_pieces) AS good_pieces
FROM asset_15m JOIN asset USING (asset_id)
WHERE asset.site_id = $1 AND asset.key = ANY($2::text[]) AND bucket >= $3 AND bucket < $4
GROUP BY asset.key"""


async def read_gwp_set(connection: Session, site_id: int) -> GwpSet:
    """Return whose global warming potentials count for a site."""
    gwp_set: GwpSet | None = await connection.fetchval(
        "SELECT gwp_set FROM carbon_settings WHERE site_id = $1", site_id
    )
    return gwp_set or "AR5"


# --- the ledger of counts -----------------------------------------------------------------------------------------

# The same content again is no new version. A withdrawn count that is sent again as it was is one.
_ADD: Final = """
WITH newest AS (
    SELECT version, product_id, stage, from_time, to_time, units, good_units, withdrawn FROM production_count
    WHERE site_id = $1 AND external_id = $2 ORDER BY version DESC LIMIT 1
)
INSERT INTO production_count (site_id, external_id, version, product_id, stage, from_time, to_time, units, good_units,
    withdrawn, author, note)
SELECT $1, $2, coalesce((SELECT version FROM newest), 0) + 1, $3, $4, $5, $6, $7, $8, $9, $10, $11
WHERE NOT EXISTS (
    SELECT FROM newest WHERE (product_id, stage, from_time, to_time, units, good_units, withdrawn)
        IS NOT DISTINCT FROM
            ($3::integer, $4::text, $5::timestamptz, $6::timestamptz, $7::float8, $8::float8, $9::boolean)
)
RETURNING version"""
_DOING: Final = "write production counts"


async def add_counts(pool: Pool, site_id: int, counts: Sequence[NewCount], *, author: str) -> Imported:
    """Append counts, all or none; sending the same again changes nothing, sending another corrects it.

    Raises:
        UnknownProduct: a count names a product that is not configured; nothing has been written.
        StoreUnavailable: the database cannot be reached now.
    """
    added = corrected = 0
    async with session(pool, _DOING) as connection, connection.transaction():
        # Two senders of the same external_id take turns, or both would write the same version.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('emsd.production'), $1)", site_id)
        rows = await connection.fetch("SELECT key, product_id FROM product WHERE site_id = $1", site_id)
        ids = {row["key"]: row["product_id"] for row in rows}
        for each in counts:
            if each.product not in ids:
                known = ", ".join(sorted(ids)) or "none yet"
                raise UnknownProduct(f"there is no product {each.product!r}; products are: {known}")
            version = await connection.fetchval(
                _ADD,
                site_id,
                each.external_id,
                ids[each.product],
                each.stage,
                each.from_time,
                each.to_time,
                each.units,
                each.good_units,
                each.withdrawn,
                author,
                each.note,
            )
            added += version == 1
            corrected += version is not None and version > 1
    return Imported(added, corrected, len(counts) - added - corrected)


_LIST: Final = """
SELECT count_id, external_id, version, product.key AS product, stage, from_time, to_time, units, good_units, withdrawn,
    author, note, recorded_at
FROM {table} AS counted JOIN product USING (product_id)
WHERE counted.site_id = $1 AND to_time > $2 AND from_time < $3 AND ($4 OR NOT withdrawn)
ORDER BY from_time, external_id, version LIMIT $5"""


async def list_counts(
    pool: Pool, site_id: int, from_: datetime, to: datetime, *, every_version: bool = False, limit: int = 10_000
) -> list[CountRow]:
    """Return the counts whose time touches [from_, to), in order of their begin.

    Those that hold now, or with `every_version` superseded and withdrawn ones too.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    table = "production_count" if every_version else "production_current"
    async with session(pool, "read production counts", timeout_s=READ_TIMEOUT_S) as connection:
        rows = await connection.fetch(_LIST.format(table=table), site_id, from_, to, every_version, limit)
    return [CountRow(**dict(row)) for row in rows]
