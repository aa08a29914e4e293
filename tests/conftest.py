"""The real servers that tests run against.

postgres            one cluster for the whole run: a private one, or EMSD_TEST_DATABASE_URL / EMSD_DATABASE_URL
migrated_template   a database with all migrations applied, which nobody connects to
database_url        a copy of it for one test, dropped afterwards
mosquitto           one private broker for the whole run; topics are shared, so use names of your own
broker, mqtt_url    a broker for one test: nothing retained, no sessions; the test may stop and start it
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import structlog

from emsd.servers import PrivateMosquitto, PrivatePostgres, temporary_folder

# Workers are dealt whole files, so what takes longest goes first: else one of them works on alone in the end.
_LONGEST_FIRST = (
    "tests/bench/",
    "tests/e2e/test_kill.py",
    "tests/e2e/",
    "tests/commissioning/",
    "tests/dashboards/test_queries.py",
    "tests/accounting/",
    "tests/cli/",
    "tests/simulator/test_simulate_command.py",
    "tests/ingest/",
    "tests/api/",
    "tests/servers/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_turn_of)


def _turn_of(item: pytest.Item) -> int:
    return next((n for n, long in enumerate(_LONGEST_FIRST) if item.nodeid.startswith(long)), len(_LONGEST_FIRST))


@dataclass(frozen=True)
class PostgresServer:
    """A server that tests may make databases on, by a URL of a role that may do so."""

    url: str

    def url_of(self, database: str) -> str:
        return urlsplit(self.url)._replace(path=f"/{database}").geturl()

    def execute(self, *statements: str) -> None:
        """Run each of `statements` outside a transaction, as CREATE DATABASE wants it."""

        async def run() -> None:
            connection = await asyncpg.connect(self.url)
            try:
                for statement in statements:
                    await connection.execute(statement)
            finally:
                await connection.close()

        wait_for(run())

    def drop(self, database: str) -> None:
        """Drop a database; one that a superuser's autovacuum is just working in is asked for again."""
        for attempts_left in range(20, -1, -1):
            try:
                self.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
            except (asyncpg.InsufficientPrivilegeError, asyncpg.ObjectInUseError):
                if not attempts_left:
                    raise
                self.execute("SELECT pg_sleep(0.25)")
            else:
                return


def wait_for(work: Coroutine[Any, Any, object]) -> None:
    """Run `work` in a loop of its own, whatever loop the test uses."""
    failures: list[BaseException] = []

    def target() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:  # noqa: BLE001  (raised again below, in the thread of the test)
            failures.append(error)

    thread = threading.Thread(target=target, name="fixture")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


@pytest.fixture(autouse=True)
def logging_of_its_own() -> Iterator[None]:
    """Undo what a command called inside the test process does to the logging of the tests after it."""
    yield
    structlog.reset_defaults()


# A database is some 700 files. To copy and drop them on a disk takes the kernel eight times as long as in memory, and
# most of what hundreds of tests with a database each would cost. What is in memory survives a killed server as well.
_MEMORY = Path("/dev/shm")  # noqa: S108 - temporary_folder makes an unguessable name in it
_MEMORY_NEEDED_BYTES = 4 * 2**30


def memory_or_disk() -> Path:
    """Where servers of tests put their files: into memory where it is large (a container may have 64 MiB)."""
    large = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _MEMORY_NEEDED_BYTES
    return _MEMORY if large else Path(tempfile.gettempdir())


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """A folder that the account the servers run as can reach; pytest's own folders are closed to it."""
    with temporary_folder("emsd-tests-", within=memory_or_disk()) as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres(servers_folder: Path) -> Iterator[PostgresServer]:
    given = os.environ.get("EMSD_TEST_DATABASE_URL") or os.environ.get("EMSD_DATABASE_URL")
    if given:
        yield PostgresServer(given)
        return
    with PrivatePostgres(servers_folder / "postgres", fsync=False) as private:
        yield PostgresServer(private.url)


@pytest.fixture(scope="session")
def migrated_template(postgres: PostgresServer) -> Iterator[str]:
    from emsd.store.migrations import migrate

    name = f"emsd_template_{uuid.uuid4().hex[:12]}"
    postgres.execute(f"CREATE DATABASE {name}")
    try:
        wait_for(migrate(postgres.url_of(name)))
        # TimescaleDB's scheduler would connect to it, and a database with connections cannot be copied.
        postgres.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        yield name
    finally:
        postgres.drop(name)


@pytest.fixture
def database_url(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    name = f"emsd_test_{uuid.uuid4().hex[:12]}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE {migrated_template} STRATEGY file_copy")
    try:
        yield postgres.url_of(name)
    finally:
        postgres.drop(name)


@pytest.fixture(scope="session")
def mosquitto(servers_folder: Path) -> Iterator[PrivateMosquitto]:
    with PrivateMosquitto(servers_folder / "mosquitto") as private:
        yield private


@pytest.fixture
def broker(servers_folder: Path) -> Iterator[PrivateMosquitto]:
    private = PrivateMosquitto(servers_folder / f"broker-{uuid.uuid4().hex[:12]}")
    private.start()
    try:
        yield private
    finally:
        private.stop()


@pytest.fixture
def mqtt_url(broker: PrivateMosquitto) -> str:
    return broker.url
