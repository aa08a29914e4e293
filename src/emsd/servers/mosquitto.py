"""A private Mosquitto broker in one folder, listening on the loopback interface only.

<folder>/broker.json       port and login, readable by its owner only
<folder>/mosquitto.conf
<folder>/passwords         hashed by mosquitto_passwd; only when a login was asked for
<folder>/mosquitto.db      retained messages and queues of persistent sessions
<folder>/mosquitto.log
<folder>/mosquitto.pid
<folder>/lock
"""

from __future__ import annotations

import json
import signal
import urllib.parse
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from emsd.errors import ServerError
from emsd.servers.handshake import accepts_clients
from emsd.servers.lock import file_lock
from emsd.servers.packages import Progress
from emsd.servers.places import Account, make_folder, run_as, write_privately
from emsd.servers.process import LOOPBACK, choose_port, is_alive, port_is_free, run, terminate, wait_until
from emsd.servers.programs import MosquittoPrograms, install

__all__ = ["PrivateMosquitto"]

# A restarted collector finds what its meters said meanwhile: 1,000 meters, one message a second, for 10 minutes.
# The broker's own limits (1,000 waiting, 20 in flight) would drop messages within a second.
MAX_QUEUED_MESSAGES = 600_000
MAX_INFLIGHT_MESSAGES = 1_000
CONFIGURATION = """\
# written by emsd at every start
listener {port} {address}
{access}
persistence true
persistence_location {folder}/
autosave_interval 30
pid_file {folder}/mosquitto.pid
log_dest stderr
log_timestamp_format %Y-%m-%dT%H:%M:%S
log_type error
log_type warning
log_type notice
connection_messages false
max_queued_messages {queued}
max_inflight_messages {inflight}
set_tcp_nodelay true
"""
# Its own daemon mode loses what it says before its log is open, so the shell puts it into the background.
IN_BACKGROUND = '"$0" -c "$1" >"$2" 2>&1 </dev/null & echo $!'
# SIGTERM saves the database; a broker that does not end on it is beyond saving anything.
STOP_SIGNALS = ((signal.SIGTERM, 30.0), (signal.SIGKILL, 10.0))
PORT_ATTEMPTS = 3


@dataclass(slots=True)
class _Record:
    port: int | None
    username: str | None
    password: str | None


class PrivateMosquitto:
    """A broker of our own; `with PrivateMosquitto(folder) as mosquitto:` starts it and stops it at the end.

    Without `username` and `password` anybody on this machine may connect; with them nobody else may. `port` is fixed if
    given, else the one used last time, else a free one. `programs` come from `install`, which is called if missing.
    The object is reusable but not reentrant; every method may block for seconds (`asyncio.to_thread`).
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        programs: MosquittoPrograms | None = None,
        progress: Progress | None = None,
        start_timeout_s: float = 30.0,
    ) -> None:
        if (username is None) != (password is None):
            raise ValueError("username and password belong together")
        self.folder = folder.resolve()
        self._wanted_port = port
        self._username = username
        self._password = password
        self._programs = programs
        self._progress = progress
        self._start_timeout_s = start_timeout_s
        self._started_here = False

    @property
    def log_file(self) -> Path:
        """What the broker says."""
        return self.folder / "mosquitto.log"

    @property
    def programs(self) -> MosquittoPrograms:
        """The broker and its clients, installed first if need be.

        Raises:
            ServerError: they cannot be installed.
        """
        if self._programs is None:
            self._programs = install("mosquitto", progress=self._progress).mosquitto
        if self._programs is None:
            raise ServerError("the installation of Mosquitto brought no programs; delete its folder and try again")
        return self._programs

    @property
    def pub(self) -> Path:
        """The path of the client program mosquitto_pub."""
        return self.programs.pub

    @property
    def sub(self) -> Path:
        """The path of the client program mosquitto_sub."""
        return self.programs.sub

    @property
    def pid(self) -> int | None:
        """The broker's process number while it runs."""
        try:
            pid = int((self.folder / "mosquitto.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if is_alive(pid, str(self._configuration)) else None

    @property
    def running(self) -> bool:
        """Whether the broker of this folder runs, whoever started it."""
        return self.pid is not None

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1.

        Raises:
            ServerError: the broker was never started.
        """
        port = self._record().port
        if port is None:
            raise ServerError(f"the broker in {self.folder} has no port yet; start it first")
        return port

    @property
    def url(self) -> str:
        """`mqtt://127.0.0.1:PORT`, with `username:password@` when there is a login."""
        record = self._record()
        login = ""
        if record.username is not None and record.password is not None:
            quoted = (urllib.parse.quote(part, safe="") for part in (record.username, record.password))
            login = ":".join(quoted) + "@"
        return f"mqtt://{login}{LOOPBACK}:{self.port}"

    def start(self) -> bool:
        """Start the broker and return when it accepts a client; False if it already ran.

        Raises:
            ServerError: the port is in use or the broker refuses (its words are quoted).
        """
        account = run_as()
        self.folder = make_folder(self.folder, owner=account, mode=0o700)
        with file_lock(self.folder / "lock"):
            if self.running:
                return False
            record = self._record() if (self.folder / "broker.json").exists() else _Record(None, None, None)
            record.username, record.password = self._username, self._password
            self._launch(record, account)
            self._started_here = True
            return True

    def stop(self) -> bool:
        """Stop the broker of this folder, whoever started it; False if it did not run.

        Raises:
            ServerError: it does not stop.
        """
        pid = self.pid
        if pid is None:
            return False
        if not terminate(pid, str(self._configuration), STOP_SIGNALS):
            raise ServerError(f"Mosquitto (process {pid}) does not stop; see {self.log_file}")
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

    @property
    def _configuration(self) -> Path:
        return self.folder / "mosquitto.conf"

    def _record(self) -> _Record:
        path = self.folder / "broker.json"
        try:
            return _Record(**json.loads(path.read_text()))
        except FileNotFoundError:
            raise ServerError(f"there is no broker in {self.folder}; start it first") from None
        except (OSError, ValueError, TypeError) as error:
            raise ServerError(f"{path} cannot be read: {error}; delete it and start the broker again") from error

    def _launch(self, record: _Record, account: Account | None) -> None:
        (self.folder / "mosquitto.pid").unlink(missing_ok=True)
        for attempt in range(PORT_ATTEMPTS):
            record.port = choose_port(self._wanted_port, record.port, "Mosquitto")
            write_privately(self.folder / "broker.json", json.dumps(asdict(record)))
            self._configure(record, account)
            shell = ["/bin/sh", "-c", IN_BACKGROUND]
            files = [self.programs.broker, self._configuration, self.log_file]
            pid = int(run([*shell, *files], account=account, folder=self.folder).stdout)
            if self._accepts_in_time(record, pid):
                return
            was_silent = is_alive(pid, str(self._configuration))
            terminate(pid, str(self._configuration), STOP_SIGNALS)
            # Between finding a free port and listening on it, another program may have taken it, or a client of ours.
            lost_port = was_silent or not port_is_free(record.port)
            if self._wanted_port is None and lost_port and attempt + 1 < PORT_ATTEMPTS:
                record.port = None
                continue
            raise ServerError(f"Mosquitto does not start: {self._complaint()}; see {self.log_file}")

    def _accepts_in_time(self, record: _Record, pid: int) -> bool:
        """Wait until the broker accepts clients or has ended."""
        marker = str(self._configuration)
        wait_until(lambda: self._accepts(record) or not is_alive(pid, marker), self._start_timeout_s)
        return self._accepts(record)

    def _accepts(self, record: _Record) -> bool:
        """Connect as a client would; our own process must run, for the port may be another broker's."""
        if record.port is None or not self.running:
            return False
        return accepts_clients(record.port, record.username, record.password)

    def _configure(self, record: _Record, account: Account | None) -> None:
        access = "allow_anonymous true"
        passwords = self.folder / "passwords"
        if record.username is not None:
            write_privately(passwords, f"{record.username}:{record.password}\n", account)
            done = run([self.programs.passwd, "-U", passwords], account=account, folder=self.folder)
            if done.returncode != 0:
                passwords.unlink()
                raise ServerError(
                    f"mosquitto_passwd refuses the login: {done.stdout.strip()}; choose another name or password"
                )
            access = f"allow_anonymous false\npassword_file {passwords}"
        text = CONFIGURATION.format(
            port=record.port, address=LOOPBACK, access=access, folder=self.folder,
            queued=MAX_QUEUED_MESSAGES, inflight=MAX_INFLIGHT_MESSAGES,
        )  # fmt: skip
        write_privately(self._configuration, text, account)

    def _complaint(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines()
        complaints = [line.partition("Error:")[2].strip() for line in lines if "Error:" in line]
        return " ".join(complaints) or f"no client was accepted within {self._start_timeout_s:.0f} s"
