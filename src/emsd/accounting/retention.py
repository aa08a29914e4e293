"""Once an hour, chunks that are older than is kept are dropped, unless something still waits to be made of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from emsd.errors import StoreError
from emsd.store.compression import ensure_compression
from emsd.store.intervals import lead_accounting
from emsd.store.pool import Pool, session
from emsd.store.retention import KeptTier, drop_chunk, oldest_chunk, read_horizons, reason_to_hold

__all__ = ["Retention", "RetentionDays", "RetentionStats"]

_log = structlog.get_logger(__name__)

_EVERY_S: Final = 3600.0
_TIMEOUT_S: Final = 300.0
"""Dropping a chunk means deleting files of gigabytes."""


@dataclass(frozen=True, slots=True)
class RetentionDays:
    """For how many days each tier is kept; 0: for ever. Local days are kept for ever."""

    raw: int = 0
    minutes: int = 0
    quarters: int = 0

    def tiers(self) -> tuple[tuple[KeptTier, int], ...]:
        """Return the tiers that are not kept for ever, the lowest first."""
        listed: tuple[tuple[KeptTier, int], ...] = (("raw", self.raw), ("1m", self.minutes), ("15m", self.quarters))
        return tuple(each for each in listed if each[1] > 0)


@dataclass(slots=True)
class RetentionStats:
    """Running totals since the start."""

    rounds: int = 0
    failures: int = 0
    chunks_dropped: int = 0
    chunks_held: int = 0
    """Times that a chunk was kept although it is old, because something still waits to be made of it."""


class Retention:
    """Drops what is no longer kept; several processes may run it, one of them works at a time."""

    def __init__(
        self, pool: Pool, days: RetentionDays, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._pool = pool
        self._days = days
        self._now = now
        self.stats = RetentionStats()

    async def run(self) -> None:
        """Make a round every hour until cancelled; a database that is away is tried again at the next."""
        while True:
            try:
                await self._compress()
                await self.run_once()
            except StoreError as error:
                self.stats.failures += 1
                _log.warning("retention_failed", reason=str(error))
            await asyncio.sleep(_EVERY_S)

    async def run_once(self) -> None:
        """Drop every chunk that is old enough, tier by tier, the oldest first, each in a transaction of its own.

        Raises:
            StoreError: what was dropped before stays dropped.
        """
        for tier, days in self._days.tiers():
            cutoff = self._now() - timedelta(days=days)
            while await self._drop_oldest(tier, cutoff):
                pass
        self.stats.rounds += 1

    async def _drop_oldest(self, tier: KeptTier, cutoff: datetime) -> bool:
        """Drop the oldest chunk of a tier; False when it is not old enough, or something still needs it."""
        async with session(self._pool, "drop what is no longer kept") as connection, connection.transaction():
            chunk = await oldest_chunk(connection, tier, cutoff)
            if chunk is None:
                return False
            await lead_accounting(connection, wait=True)
            horizons = await read_horizons(connection)
            kept_from = {"raw": horizons.raw, "1m": horizons.minutes, "15m": horizons.quarters}[tier]
            reason = await reason_to_hold(connection, chunk)
            if reason is None:
                await drop_chunk(connection, tier, chunk, kept_from, timeout_s=_TIMEOUT_S)
        if reason is not None:
            self.stats.chunks_held += 1
            _log.info("retention_waits", tier=tier, begin=str(chunk.begin), end=str(chunk.end), reason=reason)
            return False
        self.stats.chunks_dropped += 1
        _log.info("chunk_dropped", tier=tier, begin=str(chunk.begin), end=str(chunk.end), kept_from=str(chunk.end))
        return True

    async def _compress(self) -> None:
        async with session(self._pool, "set up compression") as connection:
            for statement in await ensure_compression(connection):
                _log.info("compression_set_up", statement=statement)
