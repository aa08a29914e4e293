"""Bring a database to the schema of this version: plain SQL files, in order, each once.

`NNNN_name.sql` is applied in a transaction of its own together with its row in `schema_migration`, all under one
advisory lock, so that processes that start at the same moment apply each file once. The checksum of every applied file
is kept: a file that was edited afterwards is refused instead of leaving two databases of one version unlike.

Everything in `migrations/` works on the Apache edition of TimescaleDB. What only the community edition has (compression
policies) belongs under a condition: `current_setting('timescaledb.license') = 'timescale'`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import structlog

from emsd.errors import MigrationError, StoreError, StoreUnavailable
from emsd.resources import folder
from emsd.store.errors import store_errors
from emsd.store.pool import CONNECT_TIMEOUT_S, SERVER_SETTINGS, Session, place

__all__ = ["MigrationFile", "migrate", "read_migrations", "set_reader_password"]

log = structlog.get_logger(__name__)

FILE_NAME: Final = re.compile(r"(?P<version>\d{4})_[a-z0-9_]+\.sql")
# Any number will do as long as it is always the same: the ASCII codes of "emsd".
ADVISORY_LOCK: Final = 0x656D7364
LOCK_TIMEOUT: Final = "10min"  # how long another process's migration may take

EXTENSION_MISSING = frozenset({"0A000", "58P01"})  # not available; its control file is not there
PRIVILEGE_MISSING = "42501"

CREATE_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migration (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""


@dataclass(frozen=True, slots=True)
class MigrationFile:
    """One file; its checksum is over its text with line ends as LF, so that a checkout on Windows is the same file."""

    version: int
    name: str
    sql: str
    sha256: str


def read_migrations(directory: Path) -> list[MigrationFile]:
    """Read the SQL files of a folder in order of their version.

    Raises:
        MigrationError: a file is not called NNNN_name.sql, or two have one number.
    """
    files: list[MigrationFile] = []
    for path in sorted(directory.glob("*.sql")):
        match = FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path} is not called NNNN_name.sql; rename it, for example 0042_add_column.sql")
        sql = path.read_bytes().replace(b"\r\n", b"\n")
        version = int(match["version"])
        if files and files[-1].version == version:
            raise MigrationError(f"{files[-1].name} and {path.name} have the same number; give the later one the next")
        files.append(MigrationFile(version, path.name, sql.decode(), hashlib.sha256(sql).hexdigest()))
    return files


async def migrate(database_url: str, *, directory: Path | None = None) -> list[str]:
    """Apply the migrations that the database lacks and return their names; none when it is up to date.

    `directory` holds the files, by default those of this version.

    Raises:
        MigrationError: the database is newer than this version, an applied file was edited or is out of order, or
            TimescaleDB is missing.
        StoreUnavailable: the database cannot be reached.
    """
    files = read_migrations(folder("migrations") if directory is None else directory)
    with store_errors(f"migrate the database ({place(database_url)})"):
        connection = await asyncpg.connect(
            database_url,
            timeout=CONNECT_TIMEOUT_S,
            server_settings={**SERVER_SETTINGS, "application_name": "emsd migrate", "lock_timeout": LOCK_TIMEOUT},
        )
        try:
            # The lock is the session's, not a transaction's: it ends with the connection, however that ends.
            await connection.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
            await connection.execute(CREATE_LEDGER)
            ledger = await connection.fetch("SELECT version, name, sha256 FROM schema_migration ORDER BY version")
            waiting = _waiting(files, {row["version"]: (row["name"], row["sha256"]) for row in ledger})
            for file in waiting:
                await _apply(connection, file)
                log.info("migration_applied", migration=file.name)
        finally:
            await connection.close(timeout=CONNECT_TIMEOUT_S)
    return [file.name for file in waiting]


def _waiting(files: list[MigrationFile], applied: dict[int, tuple[str, str]]) -> list[MigrationFile]:
    """The files that are not applied yet; refuses every way in which database and files can disagree."""
    known = {file.version: file for file in files}
    newest = max(applied, default=0)
    if applied and (not files or newest > files[-1].version):
        raise MigrationError(
            f"the database has {applied[newest][0]}, which this version of emsd does not know; "
            "install the version that made it, or a later one"
        )
    for version, (name, sha256) in applied.items():
        file = known.get(version)
        if file is None:
            raise MigrationError(
                f"{name} was applied to the database but is no longer among the migrations; restore it"
            )
        if file.sha256 != sha256:
            raise MigrationError(
                f"{file.name} was edited after it had been applied to the database; restore it and put the change "
                "into a new migration"
            )
    waiting = [file for file in files if file.version not in applied]
    if waiting and waiting[0].version < newest:
        raise MigrationError(
            f"{waiting[0].name} comes before {applied[newest][0]}, which the database already has; "
            f"give it a number above {newest:04d}"
        )
    return waiting


async def _apply(connection: Session, file: MigrationFile) -> None:
    try:
        async with connection.transaction():
            await connection.execute(file.sql)
            await connection.execute(
                "INSERT INTO schema_migration (version, name, sha256) VALUES ($1, $2, $3)",
                file.version,
                file.name,
                file.sha256,
            )
    except asyncpg.PostgresError as error:
        raise _explained(error, file) from error


def _explained(error: asyncpg.PostgresError, file: MigrationFile) -> StoreError:
    try:
        with store_errors(f"apply {file.name}"):
            raise error
    except StoreUnavailable as unavailable:
        return unavailable
    except StoreError:
        pass
    if error.sqlstate in EXTENSION_MISSING and "timescaledb" in str(error):
        cure = (
            "install the package timescaledb for this server's PostgreSQL version, set "
            "shared_preload_libraries = 'timescaledb' and restart the server"
        )
    elif error.sqlstate == PRIVILEGE_MISSING:
        cure = (
            "let a superuser run CREATE EXTENSION timescaledb and CREATE ROLE emsd_reader in it once, or migrate as one"
        )
    else:
        cure = "nothing of this file was kept; correct the cause and migrate again"
    return MigrationError(f"{file.name} could not be applied: {error}; {cure}")


async def set_reader_password(connection: Session, password: str) -> None:
    """Let emsd_reader log in with `password`; the server sees and logs only its SCRAM verifier.

    Raises:
        ValueError: the password is empty.
        StoreError: this user may not alter the role.
    """
    if not password:
        raise ValueError("the password of emsd_reader is empty")
    with store_errors("set the password of emsd_reader"):
        # A utility statement takes no parameters, so the server itself quotes the literal.
        statement: str = await connection.fetchval(
            "SELECT format('ALTER ROLE emsd_reader PASSWORD %L', $1::text)", scram_verifier(password)
        )
        await connection.execute(statement)


def scram_verifier(password: str, *, salt: bytes | None = None, iterations: int = 4096) -> str:
    """Return what PostgreSQL keeps of a password: SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>.

    RFC 5802 section 3, RFC 7677; 4096 iterations and 16 bytes of salt are PostgreSQL's own defaults.
    """
    salt = secrets.token_bytes(16) if salt is None else salt
    normal = unicodedata.normalize("NFKC", password).encode()  # the step of SASLprep (RFC 4013) that changes text
    salted = hashlib.pbkdf2_hmac("sha256", normal, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")

    def text(raw: bytes) -> str:
        return base64.b64encode(raw).decode()

    return f"SCRAM-SHA-256${iterations}:{text(salt)}${text(stored_key)}:{text(server_key)}"
