"""What every benchmark is given: how large to be, a private database server, and a way to say what it is doing."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import asyncpg
from rich.console import Console
from rich.status import Status

from emsd.servers import PrivatePostgres
from emsd.store.migrations import migrate

__all__ = ["Size", "World"]


class Size(StrEnum):
    """`full` is for figures, `quick` for a first look, `smoke` only shows that it runs."""

    FULL = "full"
    QUICK = "quick"
    SMOKE = "smoke"


@dataclass(slots=True)
class World:
    """The surroundings of one run; a server starts when it is first needed and stops with the run."""

    size: Size
    folder: Path
    console: Console
    status: Status
    fleet_seconds: float | None = None
    """How long `fleet` measures [s]; None takes what the size says."""
    plot: Path | None = None
    """Where `fleet` draws what it saw over time; None: nowhere."""
    shards: int | None = None
    """Into how many collecting processes `fleet` shares the meters; 0: one does everything; None: as its size says."""
    whole_day: bool = False
    """Whether `accounting` computes a whole day of all its meters, and nothing else."""
    _postgres: PrivatePostgres | None = field(default=None, init=False)

    def say(self, benchmark: str, what: str) -> None:
        """Show what is being done now."""
        self.status.update(f"{benchmark}: {what}")
        if not self.console.is_terminal:
            self.console.print(f"{benchmark}: {what}", markup=False, highlight=False)

    async def postgres(self) -> PrivatePostgres:
        """Return the private server, which waits for the disk at every commit as in production.

        It knows the time of each commit, from which `fleet` takes the age of each row.

        Raises:
            ServerError: it cannot be installed or started.
        """
        if self._postgres is None:
            self.say("servers", "starting a private TimescaleDB")
            server = PrivatePostgres(
                self.folder / "postgres",
                settings={"track_commit_timestamp": "on"},
                progress=lambda what, _share: self.say("servers", what),
            )
            await asyncio.to_thread(server.start)
            self._postgres = server
        return self._postgres

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """Yield the URL of a new database with all migrations applied; it is dropped at the end of the block."""
        server = await self.postgres()
        name = f"bench_{uuid.uuid4().hex[:12]}"
        await _execute(server.url, f"CREATE DATABASE {name}")
        try:
            await migrate(server.url_of(name))
            yield server.url_of(name)
        finally:
            await _execute(server.url, f"DROP DATABASE {name} WITH (FORCE)")

    async def close(self) -> None:
        """Stop what was started."""
        server, self._postgres = self._postgres, None
        if server is not None:
            await asyncio.to_thread(server.stop)


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
