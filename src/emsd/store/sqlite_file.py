"""Open a SQLite file that survives a kill at any moment, and say what its refusals mean.

SpoolDamaged: the file is not what it was (SQLITE_CORRUPT, SQLITE_NOTADB), or not what was written here (a table is
missing: SQLITE_ERROR, SQLITE_CONSTRAINT, SQLITE_MISMATCH). SpoolUnavailable: everything else, be it a full disk
(SQLITE_FULL), a read-only one or an I/O error. Result codes: sqlite.org/rescode.html.

A commit is on the disk when it returns: in WAL mode only synchronous=FULL syncs the log at each commit
(sqlite.org/pragma.html#pragma_synchronous). The file is locked exclusively, so SQLite needs no shared memory beside it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from emsd.errors import SpoolDamaged, SpoolUnavailable

__all__ = ["PAGE_BYTES", "bytes_held", "open_file", "sqlite_errors", "transaction"]

PAGE_BYTES: Final = 4096
PRIMARY_CODE: Final = 0xFF
DAMAGED: Final = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
    }
)


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Translate what SQLite and the operating system raise over a file.

    Raises:
        SpoolDamaged: the file must be salvaged.
        SpoolUnavailable: it may be tried again later.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & PRIMARY_CODE in DAMAGED:
            raise SpoolDamaged(f"{path} is damaged: {error}", path) from error
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        raise SpoolUnavailable(
            f"the spool {path} takes nothing now: {error} ({name}); free space on its disk, or make it writable"
        ) from error
    except OSError as error:
        raise SpoolUnavailable(
            f"the spool {path} takes nothing now: {error.strerror or error}; make its folder writable"
        ) from error


def open_file(path: Path, schema: str, *, log_pages: int) -> sqlite3.Connection:
    """Open the file, or make it with `schema`; `log_pages` is when its log is carried over into it.

    Raises:
        SpoolDamaged: its structure is not whole.
        SpoolUnavailable: it cannot be opened, read or made now.
    """
    with sqlite_errors(path):
        connection = sqlite3.connect(path, timeout=0.0, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {log_pages}")
            connection.execute(f"PRAGMA journal_size_limit = {log_pages * PAGE_BYTES}")
            _check(connection, path)
            connection.executescript(schema)
        except BaseException:
            connection.close()
            raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise SpoolDamaged(f"{path} is damaged: {found}", path)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit the block as one, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def bytes_held(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the size of the file, and how much of it holds something; the rest is filled before the file grows."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return int(pages) * PAGE_BYTES, (int(pages) - int(free)) * PAGE_BYTES
