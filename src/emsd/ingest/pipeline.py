"""The pipeline: takes readings from collectors, keeps them in bounded memory, and writes them in batches.

    offer, store --+--> ReadingQueue --> one writer task --> ReadingWriter --> database
                   `--> observers (live values, alarms), at once

| what happens | what becomes of it |
|---|---|
| the database is away | the same batch is tried again with backoff; the queue fills up to its bound |
| the queue is full | the oldest polled readings make room and are counted; `store` waits |
| a row can never be stored | it is quarantined with its reason, the rest of its batch is stored |
| the service stops | what waits is written, within bounded time; the rest is counted as lost and logged by meter |
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, cast

import structlog

from emsd.collector import DeviceIdentity, Poison, wall_clock_us
from emsd.errors import NotDurable, StoreError, StoreUnavailable
from emsd.ingest.losses import LossLedger
from emsd.ingest.patience import Patience, wait_for_event
from emsd.ingest.queue import ReadingQueue
from emsd.ingest.stats import PipelineStats
from emsd.readings import Reading, to_datetime
from emsd.store.loss import Loss, write_losses
from emsd.store.pool import Pool
from emsd.store.quarantine import store_poisons
from emsd.store.readings import ReadingWriter, WriteResult

__all__ = ["Pipeline", "PipelineStats"]

log = structlog.get_logger(__name__)

QUEUE_FULL: Final = "the queue was full because the database did not keep up"
STOPPED: Final = "the service stopped before the database took it"

LOSSES_EVERY_S: Final = 1.0
POISONS_AT_ONCE: Final = 100
POISON_CAPACITY: Final = 10_000


class Pipeline:
    """Implements `emsd.collector.Sink`; `run` is the task that writes.

    A batch is written when it has `batch_rows` readings, or its oldest polled one has waited `batch_age_s` [s], or its
    oldest awaited one `awaited_age_s` [s]. `observers` are called for each accepted reading, at once and in the
    collector's task: they must be quick, and must not raise. Stop the collectors before `run` is cancelled; it then has
    `drain_timeout_s` [s] for what waits.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        capacity_rows: int = 200_000,
        batch_rows: int = 5_000,
        batch_age_s: float = 0.2,
        awaited_age_s: float = 0.02,
        write_timeout_s: float = 30.0,
        drain_timeout_s: float = 5.0,
        observers: Sequence[Callable[[Reading], None]] = (),
        on_identity: Callable[[int, DeviceIdentity, int], None] = lambda _meter_id, _identity, _seen_us: None,
        now_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        self._pool = pool
        self._writer = ReadingWriter(pool, timeout_s=write_timeout_s)
        self._queue = ReadingQueue(capacity_rows)
        self._poisons: deque[tuple[Poison, asyncio.Future[None]]] = deque()
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
        self._closed = False
        self._losses_due_s = 0.0
        self._accepted = 0
        self._written = WriteResult(0, 0, 0)
        self._refused = 0
        self._poisoned = 0
        self._batches = 0
        self._write_seconds = 0.0
        self._last_commit_us: int | None = None

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
        """Take a reading and return when it is committed; wait while the queue is full.

        Raises:
            NotDurable: the service stopped first.
        """
        while self._queue.full and not self._closed:
            self._has_room.clear()
            await self._has_room.wait()
        if self._closed:
            raise NotDurable("a reading was not stored: the service is stopping; its message will be delivered again")
        self._accepted += 1
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put(reading, time.monotonic(), stored)
        self._wake.set()
        for observer in self._observers:
            observer(reading)
        await stored

    def deliver(self, reading: Reading, done: Callable[[NotDurable | None], None]) -> None:
        """Take a reading without waiting and call `done` when it is committed, or cannot be."""
        if self._closed:
            done(NotDurable("a reading was not stored: the service is stopping; its message will be delivered again"))
            return
        self._accepted += 1
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stored.add_done_callback(lambda future: done(cast("NotDurable | None", future.exception())))
        self._queue.put(reading, time.monotonic(), stored)
        self._wake.set()
        for observer in self._observers:
            observer(reading)

    def identified(self, meter_id: int, identity: DeviceIdentity, seen_us: int) -> None:
        """Pass on what the device behind a meter says of itself."""
        self._on_identity(meter_id, identity, seen_us)

    async def quarantine(self, poison: Poison) -> None:
        """Keep a message that can never become a reading and return when it is committed.

        Raises:
            NotDurable: the database refuses it, or the service stopped first.
        """
        while len(self._poisons) >= POISON_CAPACITY and not self._closed:
            self._has_room.clear()
            await self._has_room.wait()
        if self._closed:
            raise NotDurable(f"a message of {poison.source} was not quarantined: the service is stopping")
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._poisons.append((poison, stored))
        self._wake.set()
        await stored

    # What others may know.

    def stats(self) -> PipelineStats:
        """Return all counters at this moment."""
        oldest_s = self._queue.oldest_arrival_s()
        return PipelineStats(
            accepted=self._accepted,
            stored=self._written.stored,
            merged=self._written.merged,
            quarantined=self._written.quarantined,
            lost=self._ledger.readings,
            refused=self._refused,
            poisoned=self._poisoned,
            batches=self._batches,
            failures=self._patience.failures,
            write_seconds=self._write_seconds,
            last_commit_us=self._last_commit_us,
            lag_s=0.0 if oldest_s is None else time.monotonic() - oldest_s,
            depth=self._queue.depth,
            capacity=self._queue.capacity_rows,
            database_up=self._patience.database_up,
        )

    def losses(self) -> tuple[Loss, ...]:
        """Return the losses that are not yet in the table `reading_loss`."""
        return self._ledger.pending()

    # The task.

    async def run(self) -> None:
        """Write until cancelled; then write what waits within the drain time-out and account for the rest.

        An error that leaves it is a fault of the program; no reading is lost by it, and `run` may be called again.
        """
        self._stopping.clear()
        self._closed = False
        writing = asyncio.create_task(self._write_all(), name="pipeline-writer")
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            try:
                await self._drain(writing)
            finally:
                writing.cancel()
                self._close()
            raise

    async def _drain(self, writing: asyncio.Task[None]) -> None:
        self._losses_due_s = 0.0
        self._stopping.set()
        self._wake.set()
        await asyncio.wait({writing}, timeout=self._drain_timeout_s)
        self._writer.abort()
        await asyncio.wait({writing}, timeout=self._drain_timeout_s)
        if writing.done() and not writing.cancelled() and (error := writing.exception()) is not None:
            log.error("pipeline_failed_while_stopping", exc_info=error)

    async def _write_all(self) -> None:
        try:
            async with self._writer:
                while await self._something_due():
                    await self._write_poisons()
                    await self._write_batch()
                    await self._write_losses()
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
            losses_due_s = self._losses_due_s if self._ledger else math.inf
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
            result = await self._patience.until_stored(lambda: self._writer.write(batch.readings))
            self._write_seconds += time.monotonic() - started_s
            self._batches += 1
            self._last_commit_us = self._now_us()
            self._written += result
        self._queue.done()
        self._has_room.set()
        for _, _, stored in batch.awaited:
            if not stored.done():
                stored.set_result(None)

    async def _write_poisons(self) -> None:
        while self._poisons:
            some = [self._poisons[place] for place in range(min(len(self._poisons), POISONS_AT_ONCE))]
            messages = [poison for poison, _ in some]
            refusal: NotDurable | None = None
            try:
                await self._patience.until_stored(lambda: store_poisons(self._pool, messages))  # noqa: B023 - awaited here
                self._poisoned += len(some)
            except StoreUnavailable:
                raise
            except StoreError as error:
                refusal = NotDurable(str(error))
                log.exception("quarantine_refused", messages=len(some))
            for _, stored in some:
                self._poisons.popleft()
                if not stored.done():
                    stored.set_result(None) if refusal is None else stored.set_exception(refusal)
            self._has_room.set()

    async def _write_losses(self) -> None:
        """Write down losses if it is their time; when that fails they wait, and readings go first."""
        now_s = time.monotonic()
        if not self._ledger or now_s < self._losses_due_s:
            return
        self._losses_due_s = now_s + LOSSES_EVERY_S
        record = self._ledger.record(self._now_us())
        readings = sum(loss.readings for loss in record.losses)
        try:
            await write_losses(self._pool, record.losses, record.recorded_us)
        except StoreError as error:
            self._patience.failures += 1
            log.warning("losses_not_written", readings=readings, meters=len(record.losses), error=str(error))
        else:
            self._ledger.written()
            log.warning("readings_lost", readings=readings, meters=len(record.losses))

    def _close(self) -> None:
        """Account for all that is still here: awaited readings are handed back, polled ones are lost."""
        self._closed = True
        self._queue.put_back()
        remaining = self._queue.take(self._queue.capacity_rows)
        self._queue.done()
        for _, reading in remaining.polled:
            self._ledger.add(reading, STOPPED)
        self._refused += len(remaining.awaited)
        undone = [stored for _, _, stored in remaining.awaited] + [stored for _, stored in self._poisons]
        self._poisons.clear()
        for stored in undone:
            if not stored.done():
                stored.set_exception(NotDurable("a message was not stored: the service stopped first"))
        self._has_room.set()
        for loss in self._ledger.pending():
            log.error(
                "readings_lost_unrecorded",
                meter_id=loss.meter_id,
                readings=loss.readings,
                first_time=to_datetime(loss.first_us).isoformat(),
                last_time=to_datetime(loss.last_us).isoformat(),
                reason=loss.reason,
            )
