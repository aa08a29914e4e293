"""What takes readings in, in a process that collects: the pipeline, and who keeps the books on what it was given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

import structlog

from emsd.collector import Collector, wall_clock_us
from emsd.errors import StoreUnavailable
from emsd.ingest.live import LiveValues
from emsd.ingest.pipeline import Pipeline
from emsd.ingest.spool import Spool
from emsd.readings import Reading
from emsd.service.collection import Assignment
from emsd.service.roles import Shard
from emsd.service.run_ledger import RunLedger
from emsd.settings import Settings
from emsd.store.health import HealthRecorder
from emsd.store.identity import IdentityRecorder
from emsd.store.pool import Pool

__all__ = ["Ingesting"]

_log = structlog.get_logger(__name__)

_LAST_WORDS_S: Final = 2.0
"""Time to write down the collectors' health once more when the service stops [s]."""


class Ingesting:
    """The pipeline of a process, and beside it the health of its meters, their identities, and the ledger of the run.

    Args:
        pool: where readings go.
        spool: where they wait while the database is away; None: nowhere.
        settings: sizes and intervals.
        site_number: the site's number in the fleet.
        shard: which part of its connections this process collects.
        live: the newest values.
        observers: take every accepted reading; cheap, never wait and never raise.
        assigned: what this process collects now.
        collectors: those that run now.
    """

    def __init__(
        self,
        pool: Pool,
        spool: Spool | None,
        settings: Settings,
        site_number: int,
        shard: Shard,
        live: LiveValues,
        observers: Sequence[Callable[[Reading], None]],
        *,
        assigned: Callable[[], Iterable[Assignment]],
        collectors: Callable[[], Sequence[Collector]],
    ) -> None:
        self._shard = shard
        self._assigned = assigned
        self._collectors = collectors
        self._health_interval_s = settings.health_interval_s
        # It knows what is written already, and so must outlive a restart of its task.
        self._health = HealthRecorder(pool)
        self._identities = IdentityRecorder(pool)
        self.pipeline = Pipeline(
            pool,
            spool=spool,
            capacity_rows=settings.pipeline_capacity_rows,
            batch_rows=settings.batch_rows,
            batch_age_s=settings.batch_age_s,
            observers=(live.observe, *observers),
            on_identity=self._identities.note,
        )
        self._ledger = RunLedger(
            pool,
            site_number,
            str(shard),
            intervals_s=self._polled_intervals_s,
            collected_by=self._collected_by,
            live=live,
            stats=self.pipeline.stats,
            spool=spool,
        )

    async def start(self, start: Callable[[str, Callable[[], Awaitable[None]]], None]) -> None:
        """Start every task by `start(name, run)`."""
        start("pipeline", self.pipeline.run)
        start("health", self._record_health)
        start("identities", self._identities.run)
        await self._ledger.begin()
        start("run", self._ledger.run)

    def _polled_intervals_s(self) -> dict[int, float]:
        return {
            each.meter_id: each.meter.poll_interval_s
            for assignment in self._assigned()
            for each in assignment.bound
            if each.profile.modbus is not None
        }

    def _collected_by(self) -> Callable[[str, int], bool]:
        """Return whether a part, by its name, has collected a meter; connections may have been shared otherwise."""
        connection_of = {
            each.meter_id: assignment.connection.key for assignment in self._assigned() for each in assignment.bound
        }

        def collected(part: str, meter_id: int) -> bool:
            shard = Shard.parse(part)
            return shard == self._shard if shard.count == self._shard.count else shard.owns(connection_of[meter_id])

        return collected

    async def _record_health(self) -> None:
        async def record() -> None:
            healths = [health for collector in self._collectors() for health in collector.health()]
            try:
                await self._health.record(wall_clock_us(), healths)
            except StoreUnavailable as error:
                _log.warning("collector_health_waits", reason=str(error))

        try:
            while True:
                await asyncio.sleep(self._health_interval_s)
                await record()
        except asyncio.CancelledError:
            # The collectors have stopped; what they did since the last time counts too.
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_S):
                    await record()
            raise
