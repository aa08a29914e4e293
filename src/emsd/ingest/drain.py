"""The drain: sends what is in the spool to the database, over a session of its own, behind the live data.

While the database is away it is asked with the newest batch, with backoff: only a write shows that it takes writes,
that batch is on the disk whatever happens, and it is the one that people wait for. Once it answers, live data goes its
direct way again, and the drain sends the oldest batches, one write at a time, in the time that polls leave, and pausing
while live data is late.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from emsd.collector import Poison
from emsd.errors import SpoolUnavailable, StoreError, StoreUnavailable
from emsd.ingest.patience import Patience, backoff_s, wait_for_event
from emsd.ingest.spool import Spool
from emsd.ingest.spool_batch import Taken
from emsd.ingest.stats import SpoolStats
from emsd.pace import room
from emsd.readings import Reading
from emsd.store.pool import Pool
from emsd.store.quarantine_once import store_poisons_once
from emsd.store.readings import ReadingWriter, WriteResult

__all__ = ["Drain"]

log = structlog.get_logger(__name__)

LIVE_PAUSE_S: Final = 0.1
PROGRESS_EVERY_S: Final = 10.0


class Drain:
    """Runs beside the pipeline's writer until `stopping` is set.

    `live_is_late` says whether live data leaves no room; `on_outcome` is told what became of readings that are in the
    spool no more, or never were because they are malformed.
    """

    def __init__(
        self,
        pool: Pool,
        spool: Spool,
        patience: Patience,
        stopping: asyncio.Event,
        *,
        batch_rows: int,
        timeout_s: float,
        live_is_late: Callable[[], bool],
        on_outcome: Callable[[WriteResult], None],
    ) -> None:
        self._pool = pool
        self._spool = spool
        self._patience = patience
        self._stopping = stopping
        self._writer = ReadingWriter(pool, timeout_s=timeout_s)
        self._batch_rows = batch_rows
        self._live_is_late = live_is_late
        self._on_outcome = on_outcome
        self._wake = asyncio.Event()
        self._failed = 0
        self._after = 0
        self._one_by_one = False
        self._progress = _Progress()
        self._saved = 0
        self._drained = 0

    async def keep(self, readings: Sequence[Reading]) -> bool:
        """Put readings into the spool; False when that takes nothing now."""
        try:
            saved = await self._spool.save(readings)
        except SpoolUnavailable:
            return False
        self._saved += saved.readings
        self._on_outcome(WriteResult(0, 0, saved.malformed))
        self._wake.set()
        return True

    async def keep_poisons(self, poisons: Sequence[Poison]) -> bool:
        """Put messages for the quarantine into the spool; False when that takes nothing now."""
        try:
            await self._spool.save_poisons(poisons)
        except SpoolUnavailable:
            return False
        self._wake.set()
        return True

    def stats(self, now_us: int) -> SpoolStats:
        """Return the spool's counters at this moment."""
        totals = self._spool.totals
        return SpoolStats(
            available=self._spool.available,
            readings=totals.readings,
            batches=totals.batches,
            bytes=totals.bytes_on_disk,
            oldest_age_s=0.0 if totals.oldest_us is None else max(0, now_us - totals.oldest_us) / 1e6,
            saved_readings=self._saved,
            drained_readings=self._drained,
            dropped_readings=totals.dropped,
            recovered_readings=totals.recovered,
        )

    def wake(self) -> None:
        """The service stops."""
        self._wake.set()

    def abort(self) -> None:
        """Cut the session of the write in hand, whatever it waits for."""
        self._writer.abort()

    async def run(self) -> None:
        """Drain until the service stops; what is left stays in the spool."""
        await self._spool.give_back()
        async with self._writer:
            while not self._stopping.is_set():
                if not self._spool.totals.batches:
                    self._progress.done()
                    self._wake.clear()
                    await self._wake.wait()
                elif self._patience.database_up and self._live_is_late():
                    await wait_for_event(self._stopping, LIVE_PAUSE_S)
                elif await self._send(newest=not self._patience.database_up):
                    self._failed = 0
                else:
                    self._failed += 1
                    await wait_for_event(self._stopping, backoff_s(self._failed))

    async def _send(self, *, newest: bool) -> bool:
        """Send some batches; False when it must be tried again later."""
        await room()
        rows = 1 if newest or self._one_by_one else self._batch_rows
        try:
            taken = await self._spool.take(rows, after=0 if newest else self._after, newest=newest)
        except SpoolUnavailable:
            return False
        if not taken.batch_ids:
            begun_anew, self._after = self._after == 0, 0
            return begun_anew
        try:
            result = await self._write(taken)
        except StoreError as error:
            await self._spool.give_back(taken.batch_ids)
            self._refused(error, taken, newest=newest)
            return False
        except BaseException:
            await self._spool.give_back(taken.batch_ids)
            raise
        await self._spool.forget(taken.batch_ids)
        self._drained += result.stored + result.merged + result.quarantined
        self._on_outcome(result)
        if newest:
            self._patience.database_up = True
            log.info("database_back", batches=self._spool.totals.batches, readings=self._spool.totals.readings)
        self._one_by_one = False
        self._progress.tell(self._spool.totals.batches, self._spool.totals.readings)
        return True

    async def _write(self, taken: Taken) -> WriteResult:
        result = await self._writer.write(taken.readings)
        poisons = taken.poisons + taken.unknown
        if poisons:
            await store_poisons_once(self._pool, poisons)
        return result + WriteResult(0, 0, len(taken.unknown))

    def _refused(self, error: StoreError, taken: Taken, *, newest: bool) -> None:
        """Take note; batches that the database refuses for good wait behind the others, until a person acts."""
        if newest:
            self._patience.failed(error, attempt=self._failed + 1)
            return
        self._patience.failures += 1
        log.warning("spool_not_drained", batches=len(taken.batch_ids), error=str(error))
        if isinstance(error, StoreUnavailable):
            return
        if len(taken.batch_ids) > 1:
            self._one_by_one = True
        else:
            self._after = taken.batch_ids[0]


class _Progress:
    """Says now and then how far the drain is."""

    def __init__(self) -> None:
        self._began_s: float | None = None
        self._said_s = 0.0
        self._readings_at_first = 0

    def tell(self, batches: int, readings: int) -> None:
        """Say what is left, at most every PROGRESS_EVERY_S."""
        now_s = time.monotonic()
        if self._began_s is None:
            self._began_s, self._readings_at_first = now_s, readings
        elif batches and now_s - self._said_s >= PROGRESS_EVERY_S:
            sent = self._readings_at_first - readings
            eta_s = round(readings * (now_s - self._began_s) / sent) if sent > 0 else None
            log.info("spool_draining", batches=batches, readings=readings, eta_s=eta_s)
        else:
            return
        self._said_s = now_s

    def done(self) -> None:
        """Say that nothing is left, if something was."""
        if self._began_s is not None:
            log.info("spool_drained", seconds=round(time.monotonic() - self._began_s, 1))
            self._began_s = None
