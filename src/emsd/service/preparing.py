"""The database made ready for a plant: its schema, its mirror of the plant, and the numbers of the meters."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from emsd.collector import honour_cancellation
from emsd.errors import StoreUnavailable
from emsd.ingest.spool import Spool
from emsd.plant.loader import LoadedPlant
from emsd.store.migrations import migrate
from emsd.store.plant import sync_plant
from emsd.store.pool import Pool, place
from emsd.supervision import Backoff

__all__ = ["Preparation"]

_log = structlog.get_logger(__name__)


class Preparation:
    """Brings schema and mirror up to date; the spool remembers the meters' numbers for a start without the database."""

    def __init__(self, database_url: str, pool: Pool, spool: Spool | None) -> None:
        self._database_url = database_url
        self._pool = pool
        self._spool = spool

    async def remembered(self, loaded: LoadedPlant) -> Mapping[str, int] | None:
        """Return the number of every meter as the spool knows it; None when it lacks one."""
        if self._spool is None:
            return None
        known = await self._spool.known_meters(loaded.plant.site.number)
        keys = [meter.key for meter in loaded.plant.meters]
        return {key: known[key] for key in keys} if all(key in known for key in keys) else None

    async def meter_ids(self, loaded: LoadedPlant) -> Mapping[str, int]:
        """Bring the database up to date and return the number of every meter; wait for a database that is away.

        Raises:
            StoreError: the database refuses until a person acts (rights, a newer schema).
        """
        backoff = Backoff()
        where = place(self._database_url)
        while True:
            try:
                applied = await migrate(self._database_url)
                numbers = await sync_plant(self._pool, loaded.plant, loaded.profiles)
            except StoreUnavailable as error:
                honour_cancellation()
                wait_s = backoff.next_s()
                _log.warning("database_unreachable", address=where, reason=str(error), next_try_s=round(wait_s, 1))
                await asyncio.sleep(wait_s)
                continue
            _log.info("database_ready", address=where, migrations_applied=len(applied))
            found = {meter.key: numbers[meter.key] for meter in loaded.plant.meters}
            if self._spool is not None:
                await self._spool.remember_meters(loaded.plant.site.number, found)
            return found
