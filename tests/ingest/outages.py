"""Take the database of one test away, on a server that other tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlsplit

import asyncpg

__all__ = ["Outage", "away"]

Outage = Callable[[], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def away(database_url: str) -> AsyncIterator[Outage]:
    """Yield an outage: a block during which the database takes no sessions, and at whose begin it ends all it has."""
    parts = urlsplit(database_url)
    name = parts.path.removeprefix("/")
    admin = await asyncpg.connect(parts._replace(path="/postgres").geturl())

    @asynccontextmanager
    async def outage() -> AsyncIterator[None]:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        # Not autovacuum's, which is a superuser's and which the owner may not end.
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = current_user", name
        )
        try:
            yield
        finally:
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    try:
        yield outage
    finally:
        await admin.close()
