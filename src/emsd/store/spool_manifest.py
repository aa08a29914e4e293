"""The manifest: the small file of the spool that knows what each batch holds by meter, and what must survive a kill.

It is apart from the backlog so that a damaged backlog does not take the knowledge of what was in it along. It also has
the losses that are not in the database yet, the batches that are done with but may still stand in the backlog, the
numbers of the meters, and notes by key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emsd.store.loss import Loss
from emsd.store.sqlite_file import bytes_held, open_file, sqlite_errors, transaction

__all__ = ["Content", "Manifest"]

# A loss with recorded_us 0 still grows; with another one it is on its way to the database and changes no more.
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS content (
    batch_id  INTEGER PRIMARY KEY,
    kind      INTEGER NOT NULL,
    items     INTEGER NOT NULL,
    checksum  BLOB NOT NULL,
    shares    BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS done (batch_id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS loss (
    meter_id     INTEGER NOT NULL,
    reason       TEXT NOT NULL,
    recorded_us  INTEGER NOT NULL,
    readings     INTEGER NOT NULL,
    first_us     INTEGER NOT NULL,
    last_us      INTEGER NOT NULL,
    PRIMARY KEY (meter_id, reason, recorded_us)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meter (
    site_number  INTEGER NOT NULL,
    key          TEXT NOT NULL,
    meter_id     INTEGER NOT NULL,
    PRIMARY KEY (site_number, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS note (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
CONTENTS: Final = "SELECT batch_id, kind, items, checksum, shares FROM content ORDER BY batch_id"
CONTENT: Final = "SELECT batch_id, kind, items, checksum, shares FROM content WHERE batch_id = ?"
ADD_CONTENT: Final = "INSERT OR REPLACE INTO content (batch_id, kind, items, checksum, shares) VALUES (?, ?, ?, ?, ?)"
DELETE_CONTENT: Final = "DELETE FROM content WHERE batch_id = ?"
DONE: Final = "SELECT batch_id FROM done"
ADD_DONE: Final = "INSERT OR IGNORE INTO done (batch_id) VALUES (?)"
DELETE_DONE: Final = "DELETE FROM done WHERE batch_id = ?"
ADD_LOSS: Final = """
INSERT INTO loss (meter_id, reason, recorded_us, readings, first_us, last_us) VALUES (?, ?, 0, ?, ?, ?)
ON CONFLICT (meter_id, reason, recorded_us) DO UPDATE SET readings = readings + excluded.readings,
    first_us = min(first_us, excluded.first_us), last_us = max(last_us, excluded.last_us)"""
LOSSES: Final = "SELECT meter_id, readings, first_us, last_us, reason FROM loss ORDER BY recorded_us, meter_id, reason"
CLOSED: Final = "SELECT max(recorded_us) FROM loss"
CLOSE_LOSSES: Final = "UPDATE loss SET recorded_us = ? WHERE recorded_us = 0"
CLOSED_LOSSES: Final = "SELECT meter_id, readings, first_us, last_us, reason FROM loss WHERE recorded_us = ?"
DELETE_LOSSES: Final = "DELETE FROM loss WHERE recorded_us = ?"
METERS: Final = "SELECT key, meter_id FROM meter WHERE site_number = ?"
DELETE_METERS: Final = "DELETE FROM meter WHERE site_number = ?"
ADD_METER: Final = "INSERT INTO meter (site_number, key, meter_id) VALUES (?, ?, ?)"
NOTE: Final = "SELECT value FROM note WHERE key = ?"
SET_NOTE: Final = "INSERT OR REPLACE INTO note (key, value) VALUES (?, ?)"


@dataclass(frozen=True, slots=True)
class Content:
    """What a batch holds; `shares` are packed, and `checksum` is over them."""

    batch_id: int
    kind: int
    items: int
    checksum: bytes
    shares: bytes


class Manifest:
    """The open file; every method raises SpoolUnavailable or SpoolDamaged, and is one transaction."""

    def __init__(self, path: Path, *, log_pages: int) -> None:
        self.path = path
        self._connection = open_file(path, SCHEMA, log_pages=log_pages)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def contents(self) -> list[Content]:
        """Return what every batch holds, the oldest first."""
        with sqlite_errors(self.path):
            return [Content(*row) for row in self._connection.execute(CONTENTS)]

    def content(self, batch_id: int) -> Content | None:
        """Return what a batch holds, if it is known."""
        with sqlite_errors(self.path):
            found = self._connection.execute(CONTENT, (batch_id,)).fetchone()
        return None if found is None else Content(*found)

    def add(self, contents: Sequence[Content]) -> None:
        """Note what batches hold."""
        with sqlite_errors(self.path), transaction(self._connection):
            self._connection.executemany(
                ADD_CONTENT, [(c.batch_id, c.kind, c.items, c.checksum, c.shares) for c in contents]
            )

    def finish(self, batch_ids: Iterable[int], losses: Iterable[Loss] = (), *, gone: Iterable[int] = ()) -> None:
        """Note that batches are done with, and what was lost with them, before they leave the backlog.

        Those in `gone` have left it and are forgotten.
        """
        ids = [(batch_id,) for batch_id in batch_ids]
        with sqlite_errors(self.path), transaction(self._connection):
            self._connection.executemany(DELETE_CONTENT, ids)
            self._connection.executemany(ADD_DONE, ids)
            self._connection.executemany(DELETE_DONE, [(batch_id,) for batch_id in gone])
            self._add_losses(losses)

    def done(self) -> list[int]:
        """Return the batches that are done with and may still stand in the backlog."""
        with sqlite_errors(self.path):
            return [batch_id for (batch_id,) in self._connection.execute(DONE)]

    def add_losses(self, losses: Iterable[Loss]) -> None:
        """Add to what was lost and is not in the database yet."""
        with sqlite_errors(self.path), transaction(self._connection):
            self._add_losses(losses)

    def losses(self) -> tuple[Loss, ...]:
        """Return all losses that are not in the database yet; a meter may stand there twice."""
        with sqlite_errors(self.path):
            return tuple(Loss(*row) for row in self._connection.execute(LOSSES))

    def close_losses(self, now_us: int) -> tuple[tuple[Loss, ...], int]:
        """Return losses that change no more, with the time they were recorded at; the same until `losses_written`."""
        with sqlite_errors(self.path), transaction(self._connection):
            (recorded_us,) = self._connection.execute(CLOSED).fetchone()
            if not recorded_us:
                recorded_us = max(now_us, 1)
                self._connection.execute(CLOSE_LOSSES, (recorded_us,))
            rows = self._connection.execute(CLOSED_LOSSES, (recorded_us,)).fetchall()
        return tuple(Loss(*row) for row in rows), int(recorded_us)

    def losses_written(self, recorded_us: int) -> None:
        """Forget the losses that `close_losses` returned: the database has them."""
        with sqlite_errors(self.path), transaction(self._connection):
            self._connection.execute(DELETE_LOSSES, (recorded_us,))

    def remember_meters(self, site_number: int, meter_ids: Mapping[str, int]) -> None:
        """Replace the numbers of a site's meters."""
        with sqlite_errors(self.path), transaction(self._connection):
            self._connection.execute(DELETE_METERS, (site_number,))
            self._connection.executemany(ADD_METER, [(site_number, key, number) for key, number in meter_ids.items()])

    def known_meters(self, site_number: int) -> dict[str, int]:
        """Return meter key -> number as it was remembered."""
        with sqlite_errors(self.path):
            return dict(self._connection.execute(METERS, (site_number,)).fetchall())

    def set_note(self, key: str, value: str) -> None:
        """Keep a text under a key."""
        with sqlite_errors(self.path):
            self._connection.execute(SET_NOTE, (key, value))

    def note(self, key: str) -> str | None:
        """Return the text kept under a key."""
        with sqlite_errors(self.path):
            found = self._connection.execute(NOTE, (key,)).fetchone()
        return None if found is None else str(found[0])

    def bytes_held(self) -> tuple[int, int]:
        """Return what the file takes of the disk without its log, and how much of that holds something."""
        with sqlite_errors(self.path):
            return bytes_held(self._connection)

    def _add_losses(self, losses: Iterable[Loss]) -> None:
        self._connection.executemany(
            ADD_LOSS, [(loss.meter_id, loss.reason, loss.readings, loss.first_us, loss.last_us) for loss in losses]
        )
