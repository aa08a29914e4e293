"""A private PostgreSQL cluster with TimescaleDB in one folder, listening on the loopback interface only.

    <folder>/pgdata/         the cluster; it gets this name when initdb has finished
    <folder>/cluster.json    port and passwords, readable by its owner only
    <folder>/postgres.log
    <folder>/lock

Whether it runs is read from the cluster's own pid file and checked against the process's arguments, so a crash, a
reboot or a second program leaves nothing to clean up by hand.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from types import TracebackType
from typing import Self

from emsd.errors import ServerError
from emsd.servers.cluster import (
    ROLE,
    SUPERUSER,
    ClusterRecord,
    configure,
    create,
    keep_record,
    last_lines,
    read_record,
)
from emsd.servers.lock import file_lock
from emsd.servers.packages import Progress
from emsd.servers.places import Account, make_folder, run_as
from emsd.servers.process import (
    LOOPBACK,
    choose_port,
    exists,
    is_alive,
    port_is_free,
    processes_in,
    run,
    terminate,
    wait_until,
)
from emsd.servers.programs import PostgresPrograms, install

__all__ = ["PrivatePostgres"]

# Fast shutdown, then immediate shutdown, which the next start recovers from.
STOP_SIGNALS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0))
PORT_ATTEMPTS = 3


class PrivatePostgres:
    """A PostgreSQL cluster of our own; `with PrivatePostgres(folder) as postgres:` starts it and stops it at the end.

    `port` is fixed if given, else the one used last time, else a free one. `fsync=False` trades safety at a power
    failure for speed, for tests. `settings` are more lines of postgresql.conf. `programs` come from `install`, which is
    called if missing. The object is reusable but not reentrant; every method may block for seconds
    (`asyncio.to_thread`).
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        fsync: bool = True,
        settings: Mapping[str, str] | None = None,
        programs: PostgresPrograms | None = None,
        progress: Progress | None = None,
        start_timeout_s: float = 120.0,
    ) -> None:
        self.folder = folder.resolve()
        self._wanted_port = port
        self._fsync = fsync
        self._settings = dict(settings or {})
        self._programs = programs
        self._progress = progress
        self._start_timeout_s = start_timeout_s
        self._started_here = False

    @property
    def data_dir(self) -> Path:
        """The cluster's own data directory."""
        return self.folder / "pgdata"

    @property
    def log_file(self) -> Path:
        """What the server says."""
        return self.folder / "postgres.log"

    @property
    def programs(self) -> PostgresPrograms:
        """PostgreSQL's programs, installed first if need be.

        Raises:
            ServerError: they cannot be installed.
        """
        if self._programs is None:
            self._programs = install("timescaledb", progress=self._progress).timescaledb
        if self._programs is None:
            raise ServerError("the installation of TimescaleDB brought no programs; delete its folder and try again")
        return self._programs

    @property
    def psql(self) -> Path:
        """The path of the client program; `psql <url>` is all it needs."""
        return self.programs.program("psql")

    @property
    def pid(self) -> int | None:
        """The postmaster's process number while it runs."""
        pid = self._recorded_pid()
        return pid if pid is not None and is_alive(pid, str(self.data_dir)) else None

    @property
    def running(self) -> bool:
        """Whether the postmaster of this folder runs, whoever started it."""
        return self.pid is not None

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1.

        Raises:
            ServerError: the cluster was never started.
        """
        port = self._record().port
        if port is None:
            raise ServerError(f"the cluster in {self.folder} has no port yet; start it first")
        return port

    @property
    def url(self) -> str:
        """`postgresql://emsd:...@127.0.0.1:PORT/emsd`, the owner's way in."""
        return self.url_of(ROLE)

    @property
    def superuser_url(self) -> str:
        """The superuser's way in, for what the owner may not do."""
        return self.url_of("postgres", superuser=True)

    def url_of(self, database: str, *, superuser: bool = False) -> str:
        """The URL of `database`, as its owner or as superuser."""
        record = self._record()
        user, password = (SUPERUSER, record.superuser_password) if superuser else (ROLE, record.password)
        return f"postgresql://{user}:{password}@{LOOPBACK}:{self.port}/{database}"

    def start(self) -> bool:
        """Start the cluster, made first if need be, and return when it answers; False if it already ran.

        Raises:
            ServerError: the port is in use, the folder is another version's, or the server refuses, in its words.
        """
        account = run_as()
        self.folder = make_folder(self.folder, owner=account, mode=0o700)
        with file_lock(self.folder / "lock"):
            if self.running:
                return False
            self._check_version()
            self._clear_after_crash()
            if not self.data_dir.is_dir():
                create(self.folder, self.data_dir, self.programs, account, fsync=self._fsync)
            record = self._record()
            self._launch(record, account)
            self._prepare(record)
            self._started_here = True
            return True

    def stop(self) -> bool:
        """Stop the cluster of this folder, whoever started it; False if it did not run.

        Raises:
            ServerError: it does not stop.
        """
        pid = self.pid
        if pid is None:
            return False
        if not terminate(pid, str(self.data_dir), STOP_SIGNALS):
            raise ServerError(f"PostgreSQL (process {pid}) does not stop; see {self.log_file}")
        self._started_here = False
        return True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started_here:
            self.stop()

    def _recorded_pid(self) -> int | None:
        try:
            return int((self.data_dir / "postmaster.pid").read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return None

    def _record(self) -> ClusterRecord:
        return read_record(self.folder)

    def _check_version(self) -> None:
        marker = self.data_dir / "PG_VERSION"
        if marker.is_file() and (written_by := marker.read_text().strip()) != self.programs.version.partition(".")[0]:
            raise ServerError(
                f"{self.data_dir} was written by PostgreSQL {written_by} and the programs here are "
                f"{self.programs.version}; dump it with the old ones or choose another folder"
            )

    def _clear_after_crash(self) -> None:
        """Let the children of a killed postmaster go; take away a pid file whose number is another program's now."""
        if not wait_until(lambda: not processes_in(self.data_dir), 30.0):
            raise ServerError(
                f"processes of a PostgreSQL that died still use {self.data_dir}; end them, then try again"
            )
        # PostgreSQL sees for itself that a process is gone, but not that its number is another program's now.
        if (pid := self._recorded_pid()) is not None and exists(pid):
            (self.data_dir / "postmaster.pid").unlink(missing_ok=True)

    def _launch(self, record: ClusterRecord, account: Account | None) -> None:
        for attempt in range(PORT_ATTEMPTS):
            record.port = choose_port(self._wanted_port, record.port, "PostgreSQL")
            keep_record(self.folder, record)
            configure(self.data_dir, record.port, self.programs, account, fsync=self._fsync, settings=self._settings)
            command: list[str | Path] = [
                self.programs.program("pg_ctl"), "start", "--wait", "--silent", "--pgdata", self.data_dir,
                "--timeout", str(int(self._start_timeout_s)), "--log", self.log_file,
            ]  # fmt: skip
            done = run(command, account=account, folder=self.folder, timeout_s=self._start_timeout_s + 10)
            if done.returncode == 0:
                return
            # Between finding a free port and listening on it, another program may have taken it.
            if self._wanted_port is None and not port_is_free(record.port) and attempt + 1 < PORT_ATTEMPTS:
                continue
            raise ServerError(
                f"PostgreSQL does not start: {self._complaint() or last_lines(done.stdout)}; see {self.log_file}"
            )

    def _prepare(self, record: ClusterRecord) -> None:
        """Connect as a client would; the first time, create the role, the extension and the database."""
        server = f"host={LOOPBACK} port={record.port}"
        with as_file(files("emsd.store").joinpath("cluster.sql")) as script:
            what = ["--command", "SELECT 1"] if record.prepared else ["--file", script]
            done = run(
                [self.psql, "--no-psqlrc", "--quiet", "--dbname", f"{server} user={SUPERUSER} dbname=postgres", *what],
                account=None,
                folder=self.folder,
                environment={"PGPASSWORD": record.superuser_password, "EMSD_PASSWORD": record.password},
            )
        if done.returncode != 0:
            self.stop()
            raise ServerError(
                f"PostgreSQL started but refuses its superuser: {last_lines(done.stdout)}; see {self.log_file}"
            )
        if not record.prepared:
            record.prepared = True
            keep_record(self.folder, record)

    def _complaint(self) -> str:
        try:
            lines = self.log_file.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return next((line.partition("FATAL:")[2].strip() for line in reversed(lines) if "FATAL:" in line), "")
