"""The database made ready for a plant: its schema, its mirror of the plant, and the numbers of the meters."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from emsd.collector import honour_cancellation
from emsd.errors import ConfigurationError, MigrationError, SpoolUnavailable, StoreError, StoreUnavailable
from emsd.ingest.spool import Spool
from emsd.plant.loader import LoadedPlant
from emsd.store.migrations import migrate
from emsd.store.plant import sync_plant
from emsd.store.pool import Pool, place
from emsd.store.virtual_meters import virtual_meter_ids
from emsd.supervision import Backoff

__all__ = ["Preparation"]

_log = structlog.get_logger(__name__)

_AT_ONCE_S: Final = 3.0
"""A database that has not answered after this time is away, for a start that need not wait for it [s]."""


class Preparation:
    """Brings schema and mirror up to date; the spool remembers the meters' numbers for a start without the database."""

    def __init__(self, database_url: str, pool: Pool, spool: Spool | None) -> None:
        self._database_url = database_url
        self._pool = pool
        self._spool = spool

    async def remembered(self, loaded: LoadedPlant) -> Mapping[str, int] | None:
        """Return the number of every meter as the spool knows it; None when it lacks one, or cannot be read now."""
        if self._spool is None:
            return None
        try:
            known = await self._spool.known_meters(loaded.plant.site.number)
        except SpoolUnavailable:
            return None  # it has said so itself; the database knows them too
        keys = loaded.numbered_keys
        return {key: known[key] for key in keys} if all(key in known for key in keys) else None

    async def meter_ids_at_once(self, loaded: LoadedPlant) -> Mapping[str, int] | None:
        """Do as `meter_ids` if the database answers now; None when it does not.

        Raises:
            ConfigurationError: the spool holds readings under numbers that mean other meters here.
            MigrationError: the schema is not one that this version may write to.
        """
        try:
            async with asyncio.timeout(_AT_ONCE_S):
                return await self._bring_up_to_date(loaded)
        except MigrationError:
            raise
        except (TimeoutError, StoreError) as error:
            honour_cancellation()
            _log.warning("database_waited_for", address=place(self._database_url), reason=str(error) or "no answer")
            return None

    async def meter_ids(self, loaded: LoadedPlant) -> Mapping[str, int]:
        """Bring the database up to date and return the number of every meter; wait for a database that is away.

        Raises:
            ConfigurationError: the spool holds readings under numbers that mean other meters here.
            StoreError: the database refuses until a person acts (rights, a newer schema).
        """
        backoff = Backoff()
        where = place(self._database_url)
        while True:
            try:
                return await self._bring_up_to_date(loaded)
            except StoreUnavailable as error:
                honour_cancellation()
                wait_s = backoff.next_s()
                _log.warning("database_unreachable", address=where, reason=str(error), next_try_s=round(wait_s, 1))
                await asyncio.sleep(wait_s)

    async def _bring_up_to_date(self, loaded: LoadedPlant) -> Mapping[str, int]:
        applied = await migrate(self._database_url)
        numbers = await sync_plant(self._pool, loaded.plant, loaded.profiles)
        numbers |= await virtual_meter_ids(self._pool, loaded.plant.site.number)
        _log.info("database_ready", address=place(self._database_url), migrations_applied=len(applied))
        found = {key: numbers[key] for key in loaded.numbered_keys}
        await self._remember(loaded.plant.site.number, found)
        return found

    async def _remember(self, site_number: int, meter_ids: Mapping[str, int]) -> None:
        """Keep the numbers in the spool; a disk that takes nothing now only means that the next start asks for them."""
        spool = self._spool
        if spool is None:
            return
        try:
            known = await spool.known_meters(site_number)
            moved = sorted(key for key in known.keys() & meter_ids.keys() if known[key] != meter_ids[key])
            if moved and spool.totals.batches:
                raise ConfigurationError(
                    f"the spool in {spool.folder} holds {spool.totals.readings} readings whose numbers mean other "
                    f"meters in {place(self._database_url)} (one of them is {moved[0]}); use the database that it was "
                    "filled for, or move that folder away"
                )
            await spool.remember_meters(site_number, meter_ids)
        except SpoolUnavailable as error:
            _log.warning("meter_ids_not_remembered", reason=str(error))
