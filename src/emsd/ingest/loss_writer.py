"""Losses on their way to the table `reading_loss`: from the ledger in memory, through the spool where there is one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from emsd.errors import SpoolUnavailable, StoreError
from emsd.ingest.losses import LossLedger
from emsd.ingest.patience import Patience
from emsd.ingest.spool import Spool
from emsd.readings import to_datetime
from emsd.store.loss import Loss, write_losses
from emsd.store.pool import Pool

__all__ = ["LossWriter"]

log = structlog.get_logger(__name__)

LOSSES_EVERY_S: Final = 1.0


class LossWriter:
    """Writes losses down once a second at the most; when that fails they wait, and readings go first."""

    def __init__(
        self,
        pool: Pool,
        ledger: LossLedger,
        spool: Spool | None,
        patience: Patience,
        now_us: Callable[[], int],
        timeout_s: float,
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._spool = spool
        self._patience = patience
        self._now_us = now_us
        self._timeout_s = timeout_s
        self._due_s = 0.0

    def due_s(self) -> float:
        """Return when something must be written [s, monotonic]; infinite when nothing waits."""
        waits = bool(self._ledger) or (self._patience.database_up and self._spooled())
        return self._due_s if waits else math.inf

    def hasten(self) -> None:
        """Write at the next occasion, because the service stops."""
        self._due_s = 0.0

    def pending(self) -> tuple[Loss, ...]:
        """Return the losses that the database does not have yet."""
        return self._ledger.pending() + self._spooled()

    async def write(self) -> None:
        """Write down losses if it is their time."""
        now_s = time.monotonic()
        if self.due_s() > now_s:
            return
        self._due_s = now_s + LOSSES_EVERY_S
        if self._spool is not None:
            try:
                await self._write_through(self._spool)
            except SpoolUnavailable:
                pass  # it has said so itself
            else:
                return
        if self._ledger:
            record = self._ledger.record(self._now_us())
            if await self._write(record.losses, record.recorded_us):
                self._ledger.written()

    async def _write_through(self, spool: Spool) -> None:
        """Keep what is in memory on the disk, and send what is there to the database unless it is away."""
        if self._ledger:
            await spool.add_losses(self._ledger.record(self._now_us()).losses)
            self._ledger.written()
        if spool.totals.losses and self._patience.database_up:
            losses, recorded_us = await spool.close_losses(self._now_us())
            if losses and await self._write(losses, recorded_us):
                await spool.losses_written(recorded_us)

    async def _write(self, losses: Sequence[Loss], recorded_us: int) -> bool:
        readings = sum(loss.readings for loss in losses)
        try:
            await write_losses(self._pool, losses, recorded_us, timeout_s=self._timeout_s)
        except StoreError as error:
            self._patience.failures += 1
            log.warning("losses_not_written", readings=readings, meters=len(losses), error=str(error))
            return False
        log.warning("readings_lost", readings=readings, meters=len(losses))
        return True

    def log_unrecorded(self) -> None:
        """Say what no file and no table knows when the service ends."""
        for loss in self._ledger.pending():
            log.error(
                "readings_lost_unrecorded",
                meter_id=loss.meter_id,
                readings=loss.readings,
                first_time=to_datetime(loss.first_us).isoformat(),
                last_time=to_datetime(loss.last_us).isoformat(),
                reason=loss.reason,
            )

    def _spooled(self) -> tuple[Loss, ...]:
        return self._spool.totals.losses if self._spool is not None else ()
