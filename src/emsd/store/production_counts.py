"""Counts of production, a ledger: only ever appended to, a correction is a new version under the same external_id."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from emsd.errors import UnknownProduct
from emsd.plant.production import ProductCounter
from emsd.store.pool import Pool, Session, session
from emsd.store.reads import READ_TIMEOUT_S

__all__ = ["CountRow", "Imported", "NewCount", "OutputSum", "add_counts", "list_counts", "read_output_sums"]


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


@dataclass(frozen=True, slots=True)
class OutputSum:
    """What went through a stage of a product, or the whole line, in a window; see `read_output_sums`."""

    product: str
    stage: str | None
    units: float
    good_units: float | None


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
        UnknownProduct: a count names a product that is not configured, or a stage that it does not pass, and is not
            the withdrawal of one; nothing has been written.
        StoreUnavailable: the database cannot be reached now.
    """
    added = corrected = 0
    async with session(pool, _DOING) as connection, connection.transaction():
        # Two senders of the same external_id take turns, or both would write the same version.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('emsd.production'), $1)", site_id)
        rows = await connection.fetch("SELECT key, product_id, passes FROM product WHERE site_id = $1", site_id)
        _check(counts, {row["key"]: [stage for stage, _ in json.loads(row["passes"])] for row in rows})
        ids = {row["key"]: row["product_id"] for row in rows}
        for each in counts:
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


def _check(counts: Sequence[NewCount], stages: Mapping[str, Sequence[str]]) -> None:
    """Refuse what would count for nothing; `stages` are those that each product passes."""
    for each in counts:
        if each.product not in stages:
            known = ", ".join(sorted(stages)) or "none yet"
            raise UnknownProduct(f"there is no product {each.product!r}; products are: {known}")
        if each.stage is not None and each.stage not in stages[each.product] and not each.withdrawn:
            passed = ", ".join(stages[each.product])
            raise UnknownProduct(f"{each.product} does not pass a stage {each.stage!r}; it passes: {passed}")


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


# Counts that were sent, and those of piece counters by the quarter hour. A sum of good units of which one is not known
# is not known either: with units that are all there it would make a yield too low.
_SUMS: Final = """
SELECT product, stage, sum(units) AS units,
       CASE WHEN bool_and(good_units IS NOT NULL OR units = 0) THEN coalesce(sum(good_units), 0) END AS good_units
FROM (
    SELECT product.key AS product, stage, units * inside AS units, good_units * inside AS good_units
    FROM production_current AS counted JOIN product USING (product_id)
    CROSS JOIN LATERAL (SELECT extract(epoch FROM least(to_time, $3) - greatest(from_time, $2))::float8
        / extract(epoch FROM to_time - from_time)::float8 AS inside) AS share
    WHERE counted.site_id = $1 AND to_time > $2 AND from_time < $3 AND NOT withdrawn
    UNION ALL
    SELECT counter.product, nullif(counter.stage, ''), pieces, good_pieces
    FROM unnest($4::text[], $5::text[], $6::text[]) AS counter (asset, product, stage)
    JOIN asset ON asset.site_id = $1 AND asset.key = counter.asset
    JOIN asset_15m USING (asset_id)
    WHERE bucket >= $2 AND bucket < $3 AND pieces IS NOT NULL
) AS output
GROUP BY product, stage ORDER BY product, stage"""


async def read_output_sums(
    connection: Session, site_id: int, counters: Sequence[ProductCounter], from_: datetime, to: datetime
) -> list[OutputSum]:
    """Return what was counted over [from_, to), full quarter hours: counts that were sent, and those of counters.

    A count that lies partly in it counts for that part. `good_units` is None where they are not known of every count.
    """
    rows = await connection.fetch(
        _SUMS,
        site_id,
        from_,
        to,
        [each.asset for each in counters],
        [each.product for each in counters],
        [each.stage or "" for each in counters],
    )
    return [OutputSum(**dict(row)) for row in rows]
