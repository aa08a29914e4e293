"""Sessions on the database: a pool that never waits for ever, and a deadline that not even a dead network escapes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

import asyncpg

from emsd.errors import SettingsError, StoreError
from emsd.store.errors import store_errors

__all__ = ["Pool", "Session", "deadline", "open_pool", "place", "session"]

# The stubs are generic in the record class, asyncpg itself is not.
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Session: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

CONNECT_TIMEOUT_S: Final = 10.0
COMMAND_TIMEOUT_S: Final = 30.0
CLOSE_TIMEOUT_S: Final = 5.0

SERVER_SETTINGS: Final = {
    # Compiling a plan takes longer than any statement of ours runs.
    "jit": "off",
    "timezone": "UTC",
    "lock_timeout": "10s",
    # A process that died behind a broken network must not hold its locks for the two hours of TCP's default.
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


@asynccontextmanager
async def open_pool(
    database_url: str,
    *,
    application_name: str = "emsd",
    min_size: int = 1,
    max_size: int = 8,
    command_timeout_s: float = COMMAND_TIMEOUT_S,
) -> AsyncIterator[Pool]:
    """Open a pool of sessions and close it at the end of the block.

    Every command fails after `command_timeout_s` [s]; `min_size` sessions are opened at once, so that a wrong address
    is known here.

    Raises:
        StoreUnavailable: the database cannot be reached now.
        StoreError: it refuses this user.
        SettingsError: the address is not one of a PostgreSQL.
    """
    with store_errors(f"connect to the database ({place(database_url)})"):
        pool = await asyncpg.create_pool(
            database_url,
            min_size=min_size,
            max_size=max_size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=command_timeout_s,
            server_settings={"application_name": application_name, **SERVER_SETTINGS},
        )
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()


@asynccontextmanager
async def session(pool: Pool, doing: str, *, timeout_s: float = CONNECT_TIMEOUT_S) -> AsyncIterator[Session]:
    """Lend one session of the pool; whatever goes wrong with it is translated by `store_errors(doing)`.

    A cancelled block rolls back, and over a dead network that fails: the task is cancelled all the same, or whoever
    tries again while the database is away would go on for ever.

    Raises:
        StoreUnavailable: no session was free or could be opened within `timeout_s` [s], or it was lost.
    """
    task = asyncio.current_task()
    cancelled_before = task.cancelling() if task else 0
    try:
        with store_errors(doing):
            async with pool.acquire(timeout=timeout_s) as connection:
                yield connection
    except StoreError as error:
        if task is not None and task.cancelling() > cancelled_before:
            raise asyncio.CancelledError from error
        raise


@contextmanager
def deadline(connection: Session, timeout_s: float) -> Iterator[None]:
    """Cut the session if the block takes longer than `timeout_s` [s].

    A time-out that only cancels would still send ROLLBACK and wait for its answer; over a network that swallows
    packets there is none.

    Raises:
        TimeoutError: the session was cut; `store_errors` makes it StoreUnavailable.
    """
    passed = False

    def cut() -> None:
        nonlocal passed
        passed = True
        connection.terminate()

    watchdog = asyncio.get_running_loop().call_later(timeout_s, cut)
    try:
        yield
    except (OSError, StoreError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if passed:
            raise TimeoutError(f"the database did not answer within {timeout_s:g} s") from error
        raise
    finally:
        watchdog.cancel()


def place(database_url: str) -> str:
    """Return where a database URL points, without user and password.

    Raises:
        SettingsError: it is not a PostgreSQL URL.
    """
    try:
        parts = urlsplit(database_url)
        host = parts.hostname or parse_qs(parts.query).get("host", ["localhost"])[0]
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise SettingsError("the database address is not a URL; write postgresql://user@host:port/database") from error
    if parts.scheme not in {"postgresql", "postgres"}:
        raise SettingsError(
            "the database address does not begin with postgresql://; write postgresql://user@host/database"
        )
    return f"{host}{port}{parts.path}"
