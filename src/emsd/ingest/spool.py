"""The spool as the event loop sees it: one thread does all that touches the disk, one call after the other.

A spool that cannot take anything (disk full, read-only, failing) says so once in the log and is tried again with
backoff; calls in between fail at once, and the pipeline then keeps readings in memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import structlog

from emsd.collector import Poison, wall_clock_us
from emsd.errors import SpoolInUse, SpoolUnavailable
from emsd.ingest.spool_batch import Saved, Taken
from emsd.ingest.spool_folder import SpoolFolder, SpoolTotals
from emsd.readings import Reading
from emsd.store.loss import Loss

__all__ = ["Spool", "open_spool"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

MEGABYTE: Final = 1024 * 1024
RETRY_BASE_S: Final = 1.0
RETRY_CAP_S: Final = 30.0
CLOSE_TIMEOUT_S: Final = 10.0


class Spool:
    """Batches on disk; get one from `open_spool`. Every method raises SpoolUnavailable unless it says otherwise."""

    def __init__(self, folder: SpoolFolder) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        self._failures = 0
        self._retry_at_s = 0.0
        self._reason = ""
        self.totals = SpoolTotals()
        """Where the spool stood after the last call."""

    @property
    def available(self) -> bool:
        """Whether the last call found it in order."""
        return not self._failures

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self._folder.folder

    async def save(self, readings: Sequence[Reading]) -> Saved:
        """Put readings on the disk; they are synced when it returns."""
        return await self._call(lambda: self._folder.save(readings))

    async def save_poisons(self, poisons: Sequence[Poison]) -> None:
        """Put messages for the quarantine on the disk; they are synced when it returns."""
        await self._call(lambda: self._folder.save_poisons(poisons))

    async def take(self, max_items: int, *, after: int = 0, newest: bool = False) -> Taken:
        """Return the oldest batches after number `after`, or the newest one; they stay until `forget`."""
        return await self._call(lambda: self._folder.take(max_items, after=after, newest=newest))

    async def give_back(self, batch_ids: Iterable[int] | None = None) -> None:
        """What was taken (None: all of it) was not stored; never raises."""
        await self._call(lambda: self._folder.give_back(batch_ids), gated=False)

    async def forget(self, batch_ids: Sequence[int]) -> None:
        """What was taken is in the database; never raises."""
        await self._call(lambda: self._folder.forget(batch_ids), gated=False)

    async def add_losses(self, losses: Sequence[Loss]) -> None:
        """Keep losses until the database has them."""
        await self._call(lambda: self._folder.add_losses(losses))

    async def close_losses(self, now_us: int) -> tuple[tuple[Loss, ...], int]:
        """Return losses that change no more, and when they were recorded; the same again until `losses_written`."""
        return await self._call(lambda: self._folder.close_losses(now_us))

    async def losses_written(self, recorded_us: int) -> None:
        """The database has what `close_losses` returned."""
        await self._call(lambda: self._folder.losses_written(recorded_us))

    async def remember_meters(self, site_number: int, meter_ids: Mapping[str, int]) -> None:
        """Keep the numbers of a site's meters, so that a service can start while the database is away."""
        await self._call(lambda: self._folder.remember_meters(site_number, dict(meter_ids)))

    async def known_meters(self, site_number: int) -> dict[str, int]:
        """Return the numbers of a site's meters as they were remembered; empty when they never were."""
        return await self._call(lambda: self._folder.known_meters(site_number))

    async def set_note(self, key: str, value: str) -> None:
        """Keep a text under a key."""
        await self._call(lambda: self._folder.set_note(key, value))

    async def note(self, key: str) -> str | None:
        """Return the text kept under a key."""
        return await self._call(lambda: self._folder.note(key))

    async def open(self) -> None:
        """Open the files; `open_spool` does it.

        Raises:
            SpoolInUse: another process has them.
        """
        await self._call(self._folder.open, opening=True)

    async def close(self) -> None:
        """Close the files; `open_spool` does it at its end."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._call(self._folder.close, gated=False)
        except TimeoutError:
            log.error("spool_not_closed", folder=str(self.folder))  # noqa: TRY400 - the disk does not answer, no more
        self._thread.shutdown(wait=False)

    async def _call(self, work: Callable[[], T], *, gated: bool = True, opening: bool = False) -> T:
        """Do the work in the thread; `gated` work is not tried while the spool rests after a failure."""
        if gated and self._failures and time.monotonic() < self._retry_at_s:
            raise SpoolUnavailable(self._reason)

        def job() -> tuple[T | None, SpoolUnavailable | SpoolInUse | None, SpoolTotals]:
            try:
                return work(), None, self._folder.totals()
            except (SpoolUnavailable, SpoolInUse) as error:
                return None, error, self._folder.totals()

        # A call that has begun is finished, whoever stops waiting for it.
        result, error, self.totals = await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, job))
        if error is None:
            if gated:
                self._succeeded()
            return result  # type: ignore[return-value]  # a T when there is no error
        if opening and isinstance(error, SpoolInUse):
            raise error
        self._failed(str(error))
        raise SpoolUnavailable(str(error)) from error

    def _failed(self, reason: str) -> None:
        self._failures += 1
        pause_s = min(RETRY_CAP_S, RETRY_BASE_S * 2 ** min(self._failures - 1, 10))
        self._retry_at_s = time.monotonic() + pause_s
        self._reason = reason
        if self._failures == 1:
            log.error("spool_unavailable", reason=reason, next_try_s=pause_s)

    def _succeeded(self) -> None:
        if self._failures:
            log.warning("spool_available_again", failures=self._failures)
        self._failures = 0


@asynccontextmanager
async def open_spool(
    folder: Path,
    *,
    max_bytes: int = 2048 * MEGABYTE,
    min_free_bytes: int = 512 * MEGABYTE,
    now_us: Callable[[], int] = wall_clock_us,
) -> AsyncIterator[Spool]:
    """Open the spool in `folder` until the block ends; it takes at most `max_bytes` and leaves `min_free_bytes` free.

    A spool that cannot be opened now is tried again when it is needed.

    Raises:
        SpoolInUse: another process has it.
    """
    spool = Spool(SpoolFolder(folder, max_bytes=max_bytes, min_free_bytes=min_free_bytes, now_us=now_us))
    try:
        with suppress(SpoolUnavailable):
            await spool.open()
        yield spool
    finally:
        await spool.close()
