"""The backlog: the file of the spool that holds the batches themselves, one row each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emsd.store.spool_pages import salvage_rows
from emsd.store.sqlite_file import PAGE_BYTES, bytes_held, open_file, sqlite_errors, transaction

__all__ = ["Backlog", "Row", "salvage"]

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS batch (
    batch_id  INTEGER PRIMARY KEY,
    kind      INTEGER NOT NULL,
    items     INTEGER NOT NULL,
    checksum  BLOB NOT NULL,
    payload   BLOB NOT NULL
)"""
INSERT: Final = "INSERT INTO batch (batch_id, kind, items, checksum, payload) VALUES (?, ?, ?, ?, ?)"
LIST: Final = "SELECT batch_id, kind, items, length(payload) FROM batch ORDER BY batch_id"
READ: Final = "SELECT batch_id, kind, items, checksum, payload FROM batch WHERE batch_id = ?"
DELETE: Final = "DELETE FROM batch WHERE batch_id = ?"


@dataclass(frozen=True, slots=True)
class Row:
    """One batch as it stands in the file."""

    batch_id: int
    kind: int
    items: int
    """How many readings or messages it holds."""
    checksum: bytes
    payload: bytes


class Backlog:
    """The open file; every method raises SpoolUnavailable or SpoolDamaged."""

    def __init__(self, path: Path, *, log_pages: int) -> None:
        self.path = path
        self._connection = open_file(path, SCHEMA, log_pages=log_pages)

    def close(self) -> None:
        """Close the file; its log is carried over into it where that is possible."""
        self._connection.close()

    def batches(self) -> list[tuple[int, int, int, int]]:
        """Return (number, kind, items, bytes) of every batch, the oldest first."""
        with sqlite_errors(self.path):
            return self._connection.execute(LIST).fetchall()

    def insert(self, rows: Sequence[Row]) -> None:
        """Add batches in one transaction; they are on the disk when it returns."""
        with sqlite_errors(self.path), transaction(self._connection):
            self._connection.executemany(
                INSERT, [(row.batch_id, row.kind, row.items, row.checksum, row.payload) for row in rows]
            )

    def read(self, batch_id: int) -> Row | None:
        """Return a batch as it stands there, or None; whether it is whole only its checksum can tell."""
        with sqlite_errors(self.path):
            found = self._connection.execute(READ, (batch_id,)).fetchone()
        return None if found is None else Row(*found)

    def delete(self, batch_ids: Iterable[int]) -> None:
        """Remove batches in one transaction."""
        with sqlite_errors(self.path), transaction(self._connection):
            self._connection.executemany(DELETE, [(batch_id,) for batch_id in batch_ids])

    def bytes_held(self) -> tuple[int, int]:
        """Return what the file takes of the disk without its log, and how much of that holds something."""
        with sqlite_errors(self.path):
            return bytes_held(self._connection)

    def give_back_space(self) -> None:
        """Shrink the file to what it holds."""
        with sqlite_errors(self.path):
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def salvage(path: Path) -> Iterator[Row]:
    """Yield every batch that any page of a damaged file still speaks of: old, torn and repeated ones, too.

    Raises:
        SpoolUnavailable: the file cannot be read.
    """
    with sqlite_errors(path):
        for row_id, values in salvage_rows(path, PAGE_BYTES):
            match values:
                case (None, int(kind), int(items), bytes(checksum), bytes(payload)):
                    yield Row(row_id, kind, items, checksum, payload)
