"""Making a cluster and writing its configuration; `emsd/store/cluster.sql` holds what goes into it."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from emsd.errors import ServerError
from emsd.servers.places import Account, write_privately
from emsd.servers.process import LOOPBACK, run
from emsd.servers.programs import PostgresPrograms

__all__ = ["ROLE", "SUPERUSER", "ClusterRecord", "configure", "create", "keep_record", "last_lines", "read_record"]

SUPERUSER = "postgres"
ROLE = "emsd"
# Sized for a machine that also runs the service: a quarter of 1 GiB, not of all memory.
SETTINGS = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "jit": "off",
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "max_worker_processes": "32",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %d ",
    "log_checkpoints": "off",
}
# A private copy is the Apache edition, which has no policies: its background jobs could only log that they are not
# allowed, and their connections would keep a database from serving as a template.
WITHOUT_BACKGROUND_JOBS = {"timescaledb.max_background_workers": "0"}
# A cluster that a test throws away may lose everything at a power failure, so it need not wait for the disk. What was
# committed still survives kill -9: synchronous_commit stays on, so it has left the process.
WITHOUT_FSYNC = {"fsync": "off", "full_page_writes": "off"}
ACCESS = "# written by emsd at every start\nhost all all 127.0.0.1/32 scram-sha-256\n"


@dataclass(slots=True)
class ClusterRecord:
    """What must be remembered of a cluster from one start to the next."""

    port: int | None
    password: str
    superuser_password: str
    prepared: bool = False
    """Roles, extension and database are in place."""


def read_record(folder: Path) -> ClusterRecord:
    """The record of the cluster in `folder`.

    Raises:
        ServerError: there is none, or it cannot be read.
    """
    path = folder / "cluster.json"
    try:
        return ClusterRecord(**json.loads(path.read_text()))
    except FileNotFoundError:
        raise ServerError(f"there is no cluster in {folder}; start it first") from None
    except (OSError, ValueError, TypeError) as error:
        raise ServerError(f"{path} cannot be read: {error}; restore it or delete the folder") from error


def keep_record(folder: Path, record: ClusterRecord) -> None:
    """Write the record; it holds passwords, so nobody else may read it."""
    write_privately(folder / "cluster.json", json.dumps(asdict(record)))


def create(folder: Path, data_dir: Path, programs: PostgresPrograms, account: Account | None, *, fsync: bool) -> None:
    """Run initdb in a folder that gets the name `data_dir` when all is there.

    Raises:
        ServerError: initdb fails, in its words.
    """
    unfinished = data_dir.with_name(data_dir.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    record = ClusterRecord(port=None, password=secrets.token_hex(16), superuser_password=secrets.token_hex(16))
    password_file = folder / "initdb.password"
    write_privately(password_file, record.superuser_password + "\n", account)
    try:
        command: list[str | Path] = [
            programs.program("initdb"), "--pgdata", unfinished, "--username", SUPERUSER,
            "--pwfile", password_file, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C",
            *([] if fsync else ["--no-sync"]),
        ]  # fmt: skip
        done = run(command, account=account, folder=folder)
    finally:
        password_file.unlink(missing_ok=True)
    if done.returncode != 0:
        raise ServerError(f"initdb failed in {folder}: {last_lines(done.stdout)}; free some disk space, then try again")
    keep_record(folder, record)
    unfinished.rename(data_dir)


def configure(
    data_dir: Path,
    port: int,
    programs: PostgresPrograms,
    account: Account | None,
    *,
    fsync: bool,
    settings: Mapping[str, str],
) -> None:
    """Write postgresql.conf and pg_hba.conf; `settings` win over ours."""
    values = {
        **SETTINGS,
        **(WITHOUT_BACKGROUND_JOBS if programs.manifest else {}),
        **({} if fsync else WITHOUT_FSYNC),
        **settings,
        "port": str(port),
    }
    lines = [f"{name} = '{value}'" for name, value in values.items()]
    text = "# written by emsd at every start; ALTER SYSTEM holds what you want to keep\n" + "\n".join(lines) + "\n"
    write_privately(data_dir / "postgresql.conf", text, account)
    write_privately(data_dir / "pg_hba.conf", ACCESS, account)


def last_lines(text: str) -> str:
    """The end of what a program printed, on one line."""
    return " / ".join(line.strip() for line in text.strip().splitlines()[-3:])
