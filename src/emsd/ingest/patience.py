"""Trying again while the database is away, or keeping elsewhere what it does not take."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

import structlog

from emsd.errors import BadRow, StoreError, StoreUnavailable

__all__ = ["Patience", "backoff_s", "wait_for_event"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

BACKOFF_BASE_S: Final = 0.1
BACKOFF_CAP_S: Final = 5.0


class Patience:
    """Repeats what the database refuses, with capped and fully jittered backoff, until `stopping` is set.

    A database that refuses for want of a table or a right is waited for as well: a person can put it right, and what
    is to be written is still here.
    """

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self.failures = 0
        """Attempts that failed."""
        self.database_up = True
        """Whether the last attempt succeeded."""

    async def until_stored(
        self, attempt: Callable[[], Awaitable[T]], otherwise: Callable[[], Awaitable[bool]] | None = None
    ) -> T | None:
        """Return what `attempt` returns once it succeeds, or None as soon as `otherwise` has kept it elsewhere.

        While the database is away `otherwise` is asked first, and the database only when it says no.

        Raises:
            BadRow: no repetition helps.
            StoreError: the attempt failed, nothing else keeps it, and the service is stopping.
        """
        if otherwise is not None and not self.database_up and await otherwise():
            return None
        failed = 0
        while True:
            try:
                result = await attempt()
            except BadRow:
                raise
            except StoreError as error:
                failed += 1
                self.failed(error, attempt=failed)
                if otherwise is not None and await otherwise():
                    return None
                if self._stopping.is_set():
                    raise
                await wait_for_event(self._stopping, backoff_s(failed))
            else:
                if failed:
                    log.info("database_write_succeeded", attempts=failed + 1)
                self.database_up = True
                return result

    def failed(self, error: StoreError, *, attempt: int) -> None:
        """Take note of an attempt that the database refused or did not answer."""
        self.failures += 1
        self.database_up = False
        say = log.warning if isinstance(error, StoreUnavailable) else log.error
        say("database_write_failed", attempt=attempt, error=str(error))


async def wait_for_event(event: asyncio.Event, timeout_s: float | None) -> None:
    """Wait for an event, at most `timeout_s` [s]; None is without limit."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


def backoff_s(failed: int) -> float:
    """Return anything from 0 to a ceiling that doubles with every failure, up to the cap [s]."""
    ceiling_s = min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2 ** min(failed, 16))
    return random.uniform(0.0, ceiling_s)  # noqa: S311 - it spreads attempts, it guards nothing
