"""Which meters speak for a site in its carbon ledger, and when they did.

The plant is described as it is now; what is stated of a year is stated of the meters that counted then. So each time
that the description is taken up, who begins and who ceases to count is written down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emsd.energy.ledger.inputs import MeterRole
from emsd.energy.series import TimeArray, datetime_to_us
from emsd.store.plant_view import PlantView, plant_view_of
from emsd.store.pool import Session
from emsd.store.scopes import meters_of_scope

__all__ = ["CountedMeter", "read_counted_meters", "sync_carbon_meters"]

_NOW: Final = "SELECT meter_id, role FROM carbon_meter WHERE site_id = $1 AND counts_to IS NULL"
_CEASE: Final = """
UPDATE carbon_meter SET counts_to = greatest(now(), counts_from + interval '1 microsecond')
WHERE site_id = $1 AND meter_id = $2 AND role = $3 AND counts_to IS NULL"""
# Back after it had left, and nobody stood in for it: it counts on.
_RESUME: Final = """
UPDATE carbon_meter SET counts_to = NULL WHERE site_id = $1 AND meter_id = $2 AND role = $3
AND counts_to = (SELECT max(counts_to) FROM carbon_meter WHERE site_id = $1 AND meter_id = $2 AND role = $3)"""
_BEGIN: Final = """
INSERT INTO carbon_meter (site_id, meter_id, role, counts_from)
VALUES ($1, $2, $3, CASE WHEN $4 THEN now() END)"""
_COUNTED: Final = """
SELECT meter_id, key, role, counts_from, counts_to FROM carbon_meter JOIN meter USING (meter_id)
WHERE carbon_meter.site_id = $1 AND coalesce(counts_from < $3, true) AND coalesce(counts_to > $2, true)
ORDER BY role DESC, meter_id, counts_from NULLS FIRST"""
_IS_KEPT: Final = "SELECT EXISTS (SELECT FROM carbon_meter WHERE site_id = $1)"


@dataclass(frozen=True, slots=True)
class CountedMeter:
    """A meter that spoke for the site in a period; `times` says from when to when, None for an open end."""

    meter_id: int
    key: str
    role: MeterRole
    times: tuple[tuple[datetime | None, datetime | None], ...] = ((None, None),)

    def counted(self, edges_us: TimeArray) -> NDArray[np.bool_]:
        """Return bool[k]: the quarter hours at whose beginning it counted."""
        begins_us = edges_us[:-1]
        counted = np.zeros(begins_us.size, dtype=np.bool_)
        for from_, to in self.times:
            after = True if from_ is None else begins_us >= datetime_to_us(from_)
            before = True if to is None else begins_us < datetime_to_us(to)
            counted |= np.logical_and(after, before)
        return counted


async def sync_carbon_meters(connection: Session, site_id: int) -> None:
    """Write down who begins and who ceases to speak for the site; in the transaction that wrote the plant.

    A meter that joins others counts for whatever it has intervals of, such as history that is brought in later. One
    that takes the place of others, which cease to count at the same time, counts from now on.
    """
    wanted = set(_of_plant(await plant_view_of(connection, site_id)))
    known: set[tuple[int, MeterRole]] = {
        (row["meter_id"], row["role"]) for row in await connection.fetch(_NOW, site_id)
    }
    for each in sorted(known - wanted):
        await connection.execute(_CEASE, site_id, *each)
    displaced = {role for _, role in known - wanted}
    for meter_id, role in sorted(wanted - known):
        if role not in displaced and await connection.execute(_RESUME, site_id, meter_id, role) != "UPDATE 0":
            continue
        await connection.execute(_BEGIN, site_id, meter_id, role, role in displaced)


async def read_counted_meters(
    connection: Session, plant: PlantView, from_: datetime, to: datetime
) -> Sequence[CountedMeter]:
    """Return the meters that spoke for the site in [from_, to), those that have left the plant since among them."""
    site_id = plant.site.site_id
    if not await connection.fetchval(_IS_KEPT, site_id):
        return [CountedMeter(each, plant.meters[each].key, role) for each, role in _of_plant(plant)]
    times: dict[tuple[int, str, MeterRole], list[tuple[datetime | None, datetime | None]]] = defaultdict(list)
    for row in await connection.fetch(_COUNTED, site_id, from_, to):
        times[row["meter_id"], row["key"], row["role"]].append((row["counts_from"], row["counts_to"]))
    return [CountedMeter(*of_meter, tuple(each)) for of_meter, each in times.items()]


def _of_plant(plant: PlantView) -> list[tuple[int, MeterRole]]:
    scope = meters_of_scope(plant, "site", None)
    of_grid: list[tuple[int, MeterRole]] = [(each, "grid") for each in scope.top]
    return [*of_grid, *((each, "generation") for each in scope.generation)]
