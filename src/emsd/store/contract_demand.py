"""The demand that is agreed with the supplier, in the database: what was agreed when, and what is now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from emsd.energy.windows import local_day_bounds
from emsd.plant.models import Plant
from emsd.store.pool import Session

__all__ = ["ContractDemand", "agree_now", "read_contract_demands", "read_period_min", "sync_contract_demand"]

_AGREED_NOW: Final = """
UPDATE site SET contract_demand_kw = agreed.contract_demand_kw
FROM (SELECT contract_demand_kw FROM contract_demand WHERE site_id = $1 AND valid_from <= $2
    ORDER BY valid_from DESC LIMIT 1) AS agreed
WHERE site.site_id = $1 AND site.contract_demand_kw IS DISTINCT FROM agreed.contract_demand_kw"""


@dataclass(frozen=True, slots=True)
class ContractDemand:
    """Demand that is agreed from an instant on [kW]; None is as long as anybody remembers."""

    valid_from: datetime | None
    contract_demand_kw: float


async def sync_contract_demand(connection: Session, plant: Plant, today: date) -> None:
    """Make the tables of the agreed demand say what the plant does; locks the site's row for the transaction."""
    site = plant.site
    await connection.execute(
        "UPDATE site SET demand_period_min = $2, contract_demand_kw = $3 WHERE site_id = $1",
        site.number,
        site.demand_period_minutes,
        site.contract_demand_at(today),
    )
    await connection.execute("DELETE FROM contract_demand WHERE site_id = $1", site.number)
    if site.contract_demand_kw is None:
        return
    await connection.execute(
        "INSERT INTO contract_demand VALUES ($1, '-infinity', $2)", site.number, site.contract_demand_kw
    )
    await connection.executemany(
        "INSERT INTO contract_demand VALUES ($1, $2, $3)",
        [
            (site.number, local_day_bounds(each.valid_from, site.zone)[0], each.contract_demand_kw)
            for each in site.contract_demand_changes
        ],
    )


async def agree_now(connection: Session, site_id: int, now: datetime) -> None:
    """Make the demand that is agreed at an instant that of the site: its day comes without a start of the service."""
    await connection.execute(_AGREED_NOW, site_id, now)


async def read_contract_demands(connection: Session, site_id: int) -> list[ContractDemand]:
    """Return what demand was and is agreed, in order of time; empty when none is."""
    rows = await connection.fetch(
        "SELECT CASE WHEN isfinite(valid_from) THEN valid_from END AS valid_from, contract_demand_kw"
        " FROM contract_demand WHERE site_id = $1 ORDER BY contract_demand.valid_from",
        site_id,
    )
    return [ContractDemand(row["valid_from"], row["contract_demand_kw"]) for row in rows]


async def read_period_min(connection: Session, site_id: int) -> int:
    """Return the settlement period of a site's demand [min]."""
    found: int | None = await connection.fetchval("SELECT demand_period_min FROM site WHERE site_id = $1", site_id)
    return 15 if found is None else found
