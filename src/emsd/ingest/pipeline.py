"""The pipeline: takes readings from collectors, keeps them in bounded memory, and writes them in batches.

    offer, store, deliver --+--> ReadingQueue --> one writer task --+--> ReadingWriter --> database
                            |                                       `--> Spool --> Drain ----^
                            `--> observers (live values, alarms), at once

| what happens | what becomes of it, with a spool | without |
|---|---|---|
| the database is away, or too slow | batches go to the spool, which acknowledges | tried again; the queue fills up |
| the spool takes nothing either | the batch is tried again; the queue fills up to its bound | |
| the queue is full | the oldest polled readings make room and are counted; `store` waits | the same |
| a row can never be stored | it is quarantined with its reason, the rest of its batch is stored | the same |
| the service stops | what waits is written or spooled within bounded time; the rest is counted | written, or counted |
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog

from emsd.collector import DeviceIdentity, Poison, wall_clock_us
from emsd.errors import NotDurable, StoreError
from emsd.ingest.ages import Ages
from emsd.ingest.drain import Drain
from emsd.ingest.loss_writer import LossWriter
from emsd.ingest.losses import LossLedger
from emsd.ingest.patience import Patience, wait_for_event
from emsd.ingest.poison_queue import PoisonQueue
from emsd.ingest.queue import Done, ReadingQueue
from emsd.ingest.spool import Spool
from emsd.ingest.stats import PipelineStats, SpoolStats
from emsd.readings import Reading
from emsd.store.loss import Loss
from emsd.store.pool import Pool
from emsd.store.quarantine import store_poisons
from emsd.store.readings import ReadingWriter, WriteResult

__all__ = ["Pipeline", "PipelineStats", "SpoolStats"]

log = structlog.get_logger(__name__)

QUEUE_FULL: Final = "the queue was full because the database did not keep up"
STOPPED: Final = "the service stopped before the database took it"
STOPPING: Final = "a reading was not stored: the service is stopping; its message will be delivered again"


class Pipeline:
    """Implements `emsd.collector.Sink`; `run` is the task that writes.

    A batch is written when it has `batch_rows` readings, or its oldest polled one has waited `batch_age_s` [s], or its
    oldest awaited one `awaited_age_s` [s]. With a spool, the database has `patience_s` [s] to take a batch, else
    `write_timeout_s` [s]. `observers` are called for each accepted reading, at once and in the collector's task: they
    must be quick, and must not raise. Stop the collectors before `run` is cancelled; it then has `drain_timeout_s` [s]
    for the database to take what waits, and as long again for the spool.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        spool: Spool | None = None,
        capacity_rows: int = 200_000,
        batch_rows: int = 5_000,
        batch_age_s: float = 0.2,
        awaited_age_s: float = 0.02,
        patience_s: float = 5.0,
        write_timeout_s: float = 30.0,
        drain_timeout_s: float = 5.0,
        observers: Sequence[Callable[[Reading], None]] = (),
        on_identity: Callable[[int, DeviceIdentity, int], None] = lambda _meter_id, _identity, _seen_us: None,
        now_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        self._pool = pool
        self._spool = spool
        self._live_timeout_s = write_timeout_s if spool is None else min(patience_s, write_timeout_s)
        self._writer = ReadingWriter(pool, timeout_s=self._live_timeout_s)
        self._queue = ReadingQueue(capacity_rows)
        self._poisons = PoisonQueue()
        self._ledger = LossLedger()
        self._batch_rows = min(batch_rows, capacity_rows)
        self._batch_age_s = batch_age_s
        self._awaited_age_s = awaited_age_s
        self._drain_timeout_s = drain_timeout_s
        self._observers = tuple(observers)
        self._on_identity = on_identity
        self._now_us = now_us
        self._wake = asyncio.Event()
        self._has_room = asyncio.Event()
        self._stopping = asyncio.Event()
        self._patience = Patience(self._stopping)
        self._losses = LossWriter(pool, self._ledger, spool, self._patience, now_us, self._live_timeout_s)
        self._closed = False
        self._accepted = 0
        self._written = WriteResult(0, 0, 0)
        self._refused = 0
        self._batches = 0
        self._write_seconds = 0.0
        self._last_commit_us: int | None = None
        self._ages = Ages()
        self._drain: Drain | None = None
        if spool is not None:
            self._drain = Drain(
                pool,
                spool,
                self._patience,
                self._stopping,
                batch_rows=self._batch_rows,
                timeout_s=write_timeout_s,
                live_is_late=self._is_late,
                on_outcome=self._take_note,
            )

    # The Sink.

    def offer(self, reading: Reading) -> None:
        """Take a polled reading without waiting; when the queue is full, the oldest polled one is lost and counted."""
        self._accepted += 1
        if self._closed:
            self._ledger.add(reading, STOPPED)
            return
        lost = self._queue.offer(reading, time.monotonic())
        if lost is not None:
            self._ledger.add(lost, QUEUE_FULL)
        if len(self._queue) in {1, self._batch_rows}:  # else the writer is awake already, or need not be
            self._wake.set()
        for observer in self._observers:
            observer(reading)

    async def store(self, reading: Reading) -> None:
        """Take a reading and return when it is durable; wait while the queue is full.

        Raises:
            NotDurable: the service stopped first.
        """
        while self._queue.full and not self._closed:
            self._has_room.clear()
            await self._has_room.wait()
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(refusal: NotDurable | None) -> None:
            if not stored.done():
                stored.set_result(None) if refusal is None else stored.set_exception(refusal)

        self.deliver(reading, done)
        await stored

    def deliver(self, reading: Reading, done: Done) -> None:
        """Take a reading without waiting; `done` is called when it is durable, or cannot be, in order of delivery."""
        if self._closed:
            done(NotDurable(STOPPING))
            return
        self._accepted += 1
        queue = self._queue
        queue.put(reading, time.monotonic(), done)
        if queue.awaited == 1 or len(queue) == self._batch_rows:  # else the writer knows already when it is due
            self._wake.set()
        for observer in self._observers:
            observer(reading)

    def identified(self, meter_id: int, identity: DeviceIdentity, seen_us: int) -> None:
        """Pass on what the device behind a meter says of itself."""
        self._on_identity(meter_id, identity, seen_us)

    async def quarantine(self, poison: Poison) -> None:
        """Keep a message that can never become a reading and return when it is durable.

        Raises:
            NotDurable: the database refuses it, or the service stopped first.
        """
        while self._poisons.full and not self._closed:
            self._has_room.clear()
            await self._has_room.wait()
        if self._closed:
            raise NotDurable(f"a message of {poison.source} was not quarantined: the service is stopping")
        stored = self._poisons.put(poison)
        self._wake.set()
        await stored

    # What others may know.

    def stats(self) -> PipelineStats:
        """Return all counters at this moment."""
        oldest_s = self._queue.oldest_arrival_s()
        totals = self._spool.totals if self._spool is not None else None
        return PipelineStats(
            accepted=self._accepted,
            stored=self._written.stored,
            merged=self._written.merged,
            quarantined=self._written.quarantined,
            lost=self._ledger.readings + (totals.lost if totals else 0),
            refused=self._refused,
            poisoned=self._poisons.kept,
            batches=self._batches,
            failures=self._patience.failures,
            write_seconds=self._write_seconds,
            last_commit_us=self._last_commit_us,
            lag_s=0.0 if oldest_s is None else time.monotonic() - oldest_s,
            depth=self._queue.depth,
            capacity=self._queue.capacity_rows,
            database_up=self._patience.database_up,
            in_spool=totals.readings if totals else 0,
            recovered=totals.recovered if totals else 0,
            spool=self._drain.stats(self._now_us()) if self._drain else None,
            commit_age=self._ages.histogram(),
        )

    def losses(self) -> tuple[Loss, ...]:
        """Return the losses that are not yet in the table `reading_loss`."""
        return self._losses.pending()

    # The task.

    async def run(self) -> None:
        """Write until cancelled; then write what waits within the drain time-out and account for the rest.

        An error that leaves it is a fault of the program; no reading is lost by it, and `run` may be called again.
        """
        self._stopping.clear()
        self._closed = False
        writing = asyncio.create_task(self._work(), name="pipeline-writer")
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            try:
                await self._finish(writing)
            finally:
                writing.cancel()
                self._close()
            raise

    async def _work(self) -> None:
        if self._drain is None:
            await self._write_all()
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._drain.run(), name="pipeline-drain")
            await self._write_all()

    async def _finish(self, writing: asyncio.Task[None]) -> None:
        self._losses.hasten()
        self._stopping.set()
        self._wake.set()
        if self._drain is not None:
            self._drain.wake()
        await asyncio.wait({writing}, timeout=self._drain_timeout_s)
        self._writer.abort()
        if self._drain is not None:
            self._drain.abort()
        await asyncio.wait({writing}, timeout=self._drain_timeout_s)
        if writing.done() and not writing.cancelled() and (error := writing.exception()) is not None:
            log.error("pipeline_failed_while_stopping", exc_info=error)

    async def _write_all(self) -> None:
        try:
            async with self._writer:
                while await self._something_due():
                    await self._poisons.write(self._keep_poisons)
                    await self._write_batch()
                    self._has_room.set()
                    await self._losses.write()
        except StoreError as error:
            if not self._stopping.is_set():
                raise
            log.warning("pipeline_stopped_without_database", error=str(error))
        finally:
            self._queue.put_back()

    async def _something_due(self) -> bool:
        """Wait until there is something to write; False when the service stops and there is nothing more."""
        while True:
            now_s = time.monotonic()
            losses_due_s = self._losses.due_s()
            if self._stopping.is_set():
                return bool(self._poisons or len(self._queue) or losses_due_s <= now_s)
            due_s = min(losses_due_s, self._queue.due_s(self._batch_age_s, self._awaited_age_s))
            if self._poisons or len(self._queue) >= self._batch_rows or due_s <= now_s:
                return True
            self._wake.clear()
            await wait_for_event(self._wake, None if due_s == math.inf else due_s - now_s)

    async def _write_batch(self) -> None:
        batch = self._queue.take(self._batch_rows)
        if batch.readings:
            started_s = time.monotonic()
            result = await self._patience.until_stored(
                lambda: self._writer.write(batch.readings),
                partial(self._drain.keep, batch.readings) if self._drain else None,
            )
            if result is not None:
                committed_s = time.monotonic()
                self._write_seconds += committed_s - started_s
                self._ages.add(batch.arrivals_s(), committed_s)
                self._batches += 1
                self._last_commit_us = self._now_us()
                self._written += result
        self._queue.done()
        for _, _, done in batch.awaited:
            done(None)

    async def _keep_poisons(self, poisons: Sequence[Poison]) -> None:
        await self._patience.until_stored(
            lambda: store_poisons(self._pool, poisons, timeout_s=self._live_timeout_s),
            partial(self._drain.keep_poisons, poisons) if self._drain else None,
        )

    def _is_late(self) -> bool:
        """Whether live data needs all that the database has to give."""
        oldest_s = self._queue.oldest_arrival_s()
        return oldest_s is not None and time.monotonic() - oldest_s > 2 * self._batch_age_s

    def _take_note(self, outcome: WriteResult) -> None:
        self._written += outcome
        self._wake.set()  # losses may go now that the database is back

    def _close(self) -> None:
        """Account for all that is still here: awaited readings are handed back, polled ones are lost."""
        self._closed = True
        self._queue.put_back()
        remaining = self._queue.take(self._queue.capacity_rows)
        self._queue.done()
        for _, reading in remaining.polled:
            self._ledger.add(reading, STOPPED)
        self._refused += len(remaining.awaited)
        for _, _, done in remaining.awaited:
            done(NotDurable("a message was not stored: the service stopped first"))
        self._poisons.hand_back()
        self._has_room.set()
        self._losses.log_unrecorded()
