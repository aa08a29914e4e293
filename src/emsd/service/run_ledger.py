"""When this process collected, and what nobody polled before it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import structlog

from emsd.collector import wall_clock_us
from emsd.errors import SpoolUnavailable, StoreError, StoreUnavailable
from emsd.ingest.live import LiveValues
from emsd.ingest.spool import Spool
from emsd.ingest.stats import PipelineStats
from emsd.store.pool import Pool
from emsd.store.runs import account_interruptions, begin_run, end_run, keep_alive

__all__ = ["RunLedger"]

_log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 2.0
ALIVE_MARGIN_S: Final = 5.0
"""What was polled this long ago, and the age of the oldest reading that waits, is durable or was counted [s]."""
LONGEST_WAIT_S: Final = 60.0
"""Meters that have not delivered after this time are not waited for: their device is away [s]."""
STOP_GRACE_S: Final = 2.0
_NOTE: Final = "runs that the database has not heard of"

T = TypeVar("T")


class RunLedger:
    """Writes down one run of the collectors; `begin` it just before they start.

    While the database is away, runs are noted in the spool, so that one that is killed meanwhile is not forgotten.
    `intervals_s` says which meters are polled here, and how often [s]; `collected_by` which part of the site's
    connections a meter belonged to when they were shared otherwise.
    """

    def __init__(
        self,
        pool: Pool,
        site_id: int,
        shard: str,
        *,
        intervals_s: Callable[[], Mapping[int, float]],
        collected_by: Callable[[], Callable[[str, int], bool]],
        live: LiveValues,
        stats: Callable[[], PipelineStats],
        spool: Spool | None = None,
    ) -> None:
        self._pool = pool
        self._spool = spool
        self._unwritten: list[int] = []
        self._site_id = site_id
        self._shard = shard
        self._intervals_s = intervals_s
        self._collected_by = collected_by
        self._live = live
        self._stats = stats
        self._started_us = 0
        self._started_s = 0.0
        self._delivered = False
        self._accounted = False

    async def begin(self) -> None:
        """Take note that the collectors start now."""
        self._started_us, self._started_s = wall_clock_us(), time.monotonic()
        if self._spool is None:
            self._unwritten = [self._started_us]
            return
        try:
            known = await self._spool.note(_NOTE)
            self._unwritten = [*(json.loads(known) if known else ()), self._started_us]
            await self._spool.set_note(_NOTE, json.dumps(self._unwritten))
        except SpoolUnavailable as error:
            self._unwritten = [self._started_us]
            _log.warning("run_not_noted", reason=str(error))

    async def run(self) -> None:
        """Keep the run's row until cancelled; what nobody polled before it is counted once, as soon as it is known."""
        run_id = await self._insist(self._write_begun, "begin")
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                try:
                    await self._look(run_id)
                except StoreUnavailable as error:
                    _log.debug("run_ledger_waits", reason=str(error))
        except asyncio.CancelledError:
            # Only a stop ends the run: a failure of this task, which is started again, ends nothing.
            await self._end(run_id)
            raise

    async def _write_begun(self) -> int:
        """Write all runs that the database has not heard of; return the number of this one, the last."""
        run_id = 0
        for started_us in self._unwritten or [self._started_us]:
            run_id = await begin_run(self._pool, self._site_id, self._shard, started_us)
        self._unwritten.clear()
        if self._spool is not None:
            try:
                await self._spool.set_note(_NOTE, "[]")
            except SpoolUnavailable as error:
                # They are written once more then, which changes nothing.
                _log.debug("run_note_stays", reason=str(error))
        return run_id

    async def _look(self, run_id: int) -> None:
        margin_us = round((ALIVE_MARGIN_S + self._stats().lag_s) * 1e6)
        await keep_alive(self._pool, run_id, wall_clock_us() - margin_us)
        if not self._accounted and self._all_known():
            missed = await account_interruptions(
                self._pool, self._site_id, self._shard, self._intervals_s(), self._collected_by()
            )
            self._accounted = True
            if missed:
                _log.warning("interruption_accounted", readings=missed, table="reading_loss")

    def _all_known(self) -> bool:
        """Whether all that was ever polled before is in the database, and so are the first readings of this run."""
        stats = self._stats()
        if stats.in_spool or stats.lag_s > ALIVE_MARGIN_S:
            return False
        # What was delivered at the look before has been committed since.
        delivered, self._delivered = self._delivered, set(self._intervals_s()) <= set(self._live.meter_ids())
        return delivered or time.monotonic() - self._started_s > LONGEST_WAIT_S

    async def _end(self, run_id: int) -> None:
        try:
            async with asyncio.timeout(STOP_GRACE_S):
                await end_run(self._pool, run_id, wall_clock_us())
        except (TimeoutError, StoreError) as error:
            _log.warning("run_end_unwritten", reason=str(error) or "the database did not answer in time")

    async def _insist(self, step: Callable[[], Awaitable[T]], doing: str) -> T:
        while True:
            try:
                return await step()
            except StoreUnavailable as error:
                _log.debug("run_ledger_waits", doing=doing, reason=str(error))
            await asyncio.sleep(LOOK_EVERY_S)
