"""What is configured of production: products, how shared areas are spread, piece counters, idle times."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from emsd.energy.ledger.gwp import GwpSet
from emsd.plant.production import AreaAllocation, IdleTime, ProductCounter, Production
from emsd.store.pool import Session

__all__ = ["ProductRow", "ProductionView", "read_gwp_set", "read_production", "sync_production"]


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


async def read_gwp_set(connection: Session, site_id: int) -> GwpSet:
    """Return whose global warming potentials count for a site."""
    gwp_set: GwpSet | None = await connection.fetchval(
        "SELECT gwp_set FROM carbon_settings WHERE site_id = $1", site_id
    )
    return gwp_set or "AR5"
