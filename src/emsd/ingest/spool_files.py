"""The two files of the spool and the lock beside them: opened, salvaged when damaged, never shared.

| found | done about it |
|---|---|
| the backlog is damaged | set aside; every batch whose checksum holds is carried over into a new one |
| the manifest is damaged | set aside; a new one is begun; losses and numbers of meters in it are gone |
| another process has the lock | SpoolInUse |
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from emsd.errors import SpoolDamaged, SpoolInUse
from emsd.ingest.spool_aside import set_aside
from emsd.ingest.spool_batch import is_intact
from emsd.store.spool_backlog import Backlog, Row, salvage
from emsd.store.spool_manifest import Manifest
from emsd.store.sqlite_file import sqlite_errors

__all__ = ["SpoolFiles"]

log = structlog.get_logger(__name__)

SALVAGE_AT_ONCE: Final = 16


class SpoolFiles:
    """Backlog, manifest and lock in one folder; `log_pages` is when SQLite carries a log over into its file."""

    def __init__(self, folder: Path, *, log_pages: int, now_us: Callable[[], int]) -> None:
        self.folder = folder
        self.log_pages = log_pages
        self.backlog_path = folder / "spool.sqlite"
        self.manifest_path = folder / "manifest.sqlite"
        self._now_us = now_us
        self._lock: int | None = None
        self._opened: list[Backlog | Manifest] = []

    def open(self, *, salvage_backlog: bool = False) -> tuple[Backlog, Manifest]:
        """Open both files, make them, or put them right; `salvage_backlog` when it is known to be damaged.

        Raises:
            SpoolInUse: another process has them.
            SpoolUnavailable: they cannot be opened now.
            SpoolDamaged: not even anew.
        """
        with sqlite_errors(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_lock()
            self._carry_over_salvaged()
            was_there = self.manifest_path.exists()
        opened: list[Backlog | Manifest] = []
        try:
            try:
                manifest = Manifest(self.manifest_path, log_pages=self.log_pages)
            except SpoolDamaged as error:
                log.error("spool_manifest_damaged", error=str(error))  # noqa: TRY400 - the cause is in the text
                was_there = False
                self._put_aside(self.manifest_path)
                manifest = Manifest(self.manifest_path, log_pages=self.log_pages)
            opened.append(manifest)
            if salvage_backlog:
                self._salvage(manifest if was_there else None)
            try:
                backlog = Backlog(self.backlog_path, log_pages=self.log_pages)
            except SpoolDamaged as error:
                log.error("spool_backlog_damaged", error=str(error))  # noqa: TRY400 - the cause is in the text
                self._salvage(manifest if was_there else None)
                backlog = Backlog(self.backlog_path, log_pages=self.log_pages)
            opened.append(backlog)
        except BaseException:
            for file in opened:
                file.close()
            raise
        self._opened = opened
        return backlog, manifest

    def close(self) -> None:
        """Close both files; the lock is kept."""
        opened, self._opened = self._opened, []
        for file in opened:
            file.close()

    def unlock(self) -> None:
        """Let another process have them."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def log_bytes(self) -> int:
        """Return what the logs of both take of the disk."""
        return sum(_size(path.with_name(path.name + "-wal")) for path in (self.backlog_path, self.manifest_path))

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise SpoolInUse(
                f"the spool in {self.folder} is used by another process; stop that one, or give this one a folder of "
                "its own with EMSD_SPOOL_FOLDER"
            ) from None
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock

    def _salvage(self, manifest: Manifest | None) -> None:
        """Carry every whole batch of the damaged backlog over into a new one; without manifest, old ones as well."""
        wanted: set[int] | None = None
        if manifest is not None:
            wanted = {content.batch_id for content in manifest.contents()} - set(manifest.done())
        unfinished = self.backlog_path.with_name("spool.sqlite.salvaging")
        with sqlite_errors(unfinished):
            _unlink(unfinished)
        found: set[int] = set()
        rows: list[Row] = []
        target = Backlog(unfinished, log_pages=self.log_pages)
        try:
            for row in salvage(self.backlog_path):
                if row.batch_id in found or not (wanted is None or row.batch_id in wanted):
                    continue
                if is_intact(row):
                    found.add(row.batch_id)
                    rows.append(row)
                if len(rows) >= SALVAGE_AT_ONCE:
                    target.insert(rows)
                    rows.clear()
            target.insert(rows)
        finally:
            target.close()
        with sqlite_errors(self.folder):
            unfinished.rename(self.backlog_path.with_name("spool.sqlite.salvaged"))
            self._carry_over_salvaged()
        log.warning("spool_salvaged", batches=len(found), wanted=len(wanted) if wanted is not None else None)

    def _carry_over_salvaged(self) -> None:
        """Put what was salvaged in place of the damaged backlog; after a kill in between this goes on from there."""
        salvaged = self.backlog_path.with_name("spool.sqlite.salvaged")
        if salvaged.exists():
            self._put_aside(self.backlog_path)
            salvaged.rename(self.backlog_path)

    def _put_aside(self, path: Path) -> None:
        with sqlite_errors(path):
            kept = set_aside(path, self._now_us())
        if kept is not None:
            log.error("spool_file_set_aside", file=str(kept))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _unlink(path: Path) -> None:
    for each in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-journal")):
        each.unlink(missing_ok=True)
