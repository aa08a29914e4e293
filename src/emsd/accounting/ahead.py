"""Reads the samples of the next parts of a long range while those before them are computed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from emsd.accounting.gather import Bounds, Gatherer, Ready
from emsd.accounting.runs import Run
from emsd.store.pool import Pool, Session, session

__all__ = ["read_ahead"]

_READERS: Final = 2
"""Sessions that read at once: the database takes longer to find samples than computing them does."""
_SETTINGS: Final = """
SET LOCAL plan_cache_mode = force_custom_plan;
SET LOCAL max_parallel_workers_per_gather = 0;
SET LOCAL work_mem = '192MB'
"""
"""A plan for the range at hand; every reader is one process; the arrays of all meters stay in memory."""


async def read_ahead(pool: Pool, parts: Iterable[Sequence[Run]], bounds: Bounds) -> AsyncGenerator[Ready, None]:
    """Yield the samples of each part, in the order of the parts.

    Each reader has a session of its own. That it may see newer samples than another, or than who writes what comes of
    them, does no harm: a reading that comes meanwhile has its mark.

    Raises:
        StoreUnavailable: the database was lost, or has no session left.
    """
    under_way: deque[tuple[Session, asyncio.Task[Ready]]] = deque()
    async with AsyncExitStack() as stack:
        free = [await stack.enter_async_context(_reader(pool)) for _ in range(_READERS)]
        stack.push_async_callback(_stop, under_way)
        for part in parts:
            ready: Ready | None = None
            if not free:
                reader, task = under_way.popleft()
                ready = await task
                free.append(reader)
            reader = free.pop()
            task = asyncio.create_task(Gatherer().gather(reader, part, bounds), name="read samples ahead")
            under_way.append((reader, task))
            if ready is not None:
                yield ready
        while under_way:
            _, task = under_way.popleft()
            yield await task


@asynccontextmanager
async def _reader(pool: Pool) -> AsyncIterator[Session]:
    async with session(pool, "read samples") as reader, reader.transaction(readonly=True):
        await reader.execute(_SETTINGS)
        yield reader


async def _stop(under_way: Iterable[tuple[Session, asyncio.Task[Ready]]]) -> None:
    tasks = [task for _, task in under_way]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
