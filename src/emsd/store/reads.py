"""How readers of several tables see the database at one instant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from emsd.store.pool import Pool, Session, session

__all__ = ["READ_TIMEOUT_S", "answers", "snapshot"]

READ_TIMEOUT_S: Final = 5.0
"""Longest wait for a session when a person waits for the answer [s]."""


@asynccontextmanager
async def snapshot(pool: Pool, doing: str) -> AsyncIterator[Session]:
    """Lend a session on which every query of the block sees the database at one instant.

    Plans are made for the arguments at hand: the plan that fits one meter is many times too slow for a thousand, and
    PostgreSQL settles on one plan for both after five executions. Starting parallel workers takes longer than any
    statement here.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with (
        session(pool, doing, timeout_s=READ_TIMEOUT_S) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.execute(
            "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL max_parallel_workers_per_gather = 0"
        )
        yield connection


async def answers(pool: Pool) -> None:
    """Return when the database has answered.

    Raises:
        StoreUnavailable: it cannot be reached now.
        StoreError: it refuses.
    """
    async with session(pool, "ask whether the database answers", timeout_s=READ_TIMEOUT_S) as connection:
        await connection.fetchval("SELECT 1")
