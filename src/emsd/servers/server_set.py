"""The two servers of one run folder, kept in the background for people: `emsd servers start|stop|status|url`.

    <data>/servers/<name>/timescaledb/   a PrivatePostgres
    <data>/servers/<name>/mosquitto/     a PrivateMosquitto
    <data>/servers/<name>/state.json     what was started last: process numbers, ports, URLs; readable by its owner only

The state file is for other programs to read. Whether a server runs is always asked of the server's own folder, so a
stale state file misleads nobody here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from emsd.errors import SettingsError
from emsd.servers.mosquitto import PrivateMosquitto
from emsd.servers.packages import Progress
from emsd.servers.places import find_places, make_folder, write_privately
from emsd.servers.postgres import PrivatePostgres
from emsd.servers.programs import ServerName, install

__all__ = ["DATABASE_VARIABLE", "MQTT_VARIABLE", "ServerSet", "ServerStatus", "database_url"]

DATABASE_VARIABLE = "EMSD_DATABASE_URL"
MQTT_VARIABLE = "EMSD_MQTT_URL"
SERVERS: tuple[ServerName, ...] = ("timescaledb", "mosquitto")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server as it is now."""

    server: ServerName
    running: bool | None
    """None when it is not ours: its address came from the environment."""
    pid: int | None
    port: int | None
    url: str | None
    """None when it does not run."""
    log_file: Path | None
    started_now: bool = False
    """Whether this very call started it."""


class ServerSet:
    """TimescaleDB and Mosquitto under one name.

    A server whose address is in the environment (EMSD_DATABASE_URL, EMSD_MQTT_URL) is left to whoever runs it: nothing
    of ours is started in its place.
    """

    def __init__(
        self,
        name: str = "default",
        *,
        folder: Path | None = None,
        postgres_port: int | None = None,
        mosquitto_port: int | None = None,
        environment: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        if not NAME.fullmatch(name):
            raise SettingsError(f"{name!r} cannot name a set of servers; use up to 32 of a-z, 0-9, - and _")
        self.name = name
        self._environment = os.environ if environment is None else environment
        self._progress = progress
        self.folder = (folder or find_places(self._environment).data / "servers") / name
        self.postgres = PrivatePostgres(self.folder / "timescaledb", port=postgres_port, progress=progress)
        self.mosquitto = PrivateMosquitto(self.folder / "mosquitto", port=mosquitto_port, progress=progress)

    @property
    def state_file(self) -> Path:
        """What was started last, for other programs."""
        return self.folder / "state.json"

    def start(self) -> tuple[ServerStatus, ...]:
        """Start what does not run yet; `started_now` tells which those were.

        Raises:
            ServerError: one of them does not start. The other one is left as it is.
        """
        ours = self._ours()
        if ours:
            install(*ours, progress=self._progress)
            make_folder(self.folder)
        started = {server for server in ours if self._server(server).start()}
        status = tuple(self._status(server, started_now=server in started) for server in SERVERS)
        if ours:
            self._keep(status)
        return status

    def stop(self) -> tuple[ServerName, ...]:
        """Stop those of this folder that run, and only those; returns which they were."""
        stopped = tuple(server for server in SERVERS if self._server(server).stop())
        self.state_file.unlink(missing_ok=True)
        return stopped

    def status(self) -> tuple[ServerStatus, ...]:
        """Both servers as they are now."""
        return tuple(self._status(server) for server in SERVERS)

    def _ours(self) -> tuple[ServerName, ...]:
        return tuple(server for server in SERVERS if not self._given(server))

    def _given(self, server: ServerName) -> str | None:
        return self._environment.get(DATABASE_VARIABLE if server == "timescaledb" else MQTT_VARIABLE) or None

    def _server(self, server: ServerName) -> PrivatePostgres | PrivateMosquitto:
        return self.postgres if server == "timescaledb" else self.mosquitto

    def _status(self, server: ServerName, *, started_now: bool = False) -> ServerStatus:
        if given := self._given(server):
            return ServerStatus(server, running=None, pid=None, port=None, url=given, log_file=None)
        found = self._server(server)
        pid = found.pid
        if pid is None:
            return ServerStatus(server, running=False, pid=None, port=None, url=None, log_file=found.log_file)
        return ServerStatus(
            server,
            running=True,
            pid=pid,
            port=found.port,
            url=found.url,
            log_file=found.log_file,
            started_now=started_now,
        )

    def _keep(self, status: tuple[ServerStatus, ...]) -> None:
        document = {
            entry.server: {**asdict(entry), "log_file": str(entry.log_file)} for entry in status if entry.running
        }
        write_privately(self.state_file, json.dumps(document, indent=2))


def database_url(
    name: str = "default", *, environment: Mapping[str, str] | None = None, progress: Progress | None = None
) -> str:
    """The database to use: EMSD_DATABASE_URL if it is set, else the private one of `name`, started first if need be.

    Raises:
        ServerError: there is no private one and it cannot be made.
    """
    variables = os.environ if environment is None else environment
    if given := variables.get(DATABASE_VARIABLE):
        return given
    servers = ServerSet(name, environment=variables, progress=progress)
    servers.postgres.start()
    return servers.postgres.url
