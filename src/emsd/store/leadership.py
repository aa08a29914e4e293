"""Work that only one process of a site may do at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from emsd.store.pool import Pool, session

__all__ = ["lead"]

_log = structlog.get_logger(__name__)

_TRY: Final = "SELECT pg_try_advisory_lock(hashtext($1))"


async def lead(
    pool: Pool,
    what: str,
    work: Callable[[], Awaitable[None]],
    *,
    ask_again_s: float = 5.0,
    look_after_s: float = 10.0,
) -> None:
    """Run `work` while this process is the only one that holds `what`; until then it stands by.

    The lock lives in a session of its own: when that is lost, another process may lead, so the work is stopped and the
    error says so. It is asked for every `ask_again_s` [s], and looked after every `look_after_s` [s] while it is held.

    Raises:
        StoreUnavailable: the session was lost, or could not be had.
    """
    name = f"emsd.{what}"
    async with session(pool, f"lead {what}") as connection:
        told = False
        while not await connection.fetchval(_TRY, name):
            if not told:
                _log.info("standing_by", work=what, reason="another process leads")
                told = True
            await asyncio.sleep(ask_again_s)
        task: asyncio.Future[None] = asyncio.ensure_future(work())
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=look_after_s)
                await connection.fetchval("SELECT 1")
            task.result()
        finally:
            # The pool gives the lock back with the session.
            task.cancel()
            await asyncio.wait({task})
