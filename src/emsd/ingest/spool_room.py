"""How much of the disk the spool takes, and how far more bytes would go beyond its bound."""

from __future__ import annotations

import shutil
from typing import Final

from emsd.ingest.spool_aside import aside_bytes
from emsd.ingest.spool_files import SpoolFiles
from emsd.store.spool_backlog import Backlog
from emsd.store.spool_manifest import Manifest
from emsd.store.sqlite_file import PAGE_BYTES, sqlite_errors

__all__ = ["SpoolRoom"]

FRAME_BYTES: Final = PAGE_BYTES + 24
"""What a page takes in a log: the page and the header of its frame (SQLite file format, section 4.1)."""


class SpoolRoom:
    """The bound of a spool: at most `max_bytes` of the disk, of which `min_free_bytes` stay free."""

    def __init__(self, disk: SpoolFiles, *, max_bytes: int, min_free_bytes: int) -> None:
        self._disk = disk
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes

    def bytes_held(self, backlog: Backlog, manifest: Manifest) -> int:
        """Return what the files take of the disk, those set aside excepted."""
        return backlog.bytes_held()[0] + manifest.bytes_held()[0] + self._disk.log_bytes()

    def bytes_over(self, backlog: Backlog, manifest: Manifest, needed: int) -> int:
        """Return by how much `needed` more bytes go beyond the bound; 0 or less when there is room.

        Raises:
            SpoolUnavailable: the disk does not say how full it is.
        """
        (backlog_bytes, backlog_used), (manifest_bytes, manifest_used) = backlog.bytes_held(), manifest.bytes_held()
        folder = self._disk.folder
        with sqlite_errors(folder):
            aside = aside_bytes(folder)
            free = shutil.disk_usage(folder).free
        # A log grows to where it is carried over, and by the transaction that is then in it.
        logs = max(self._disk.log_bytes(), 2 * self._disk.log_pages * FRAME_BYTES + needed)
        may_grow = max(0, free - self._min_free_bytes)
        limit = min(self._max_bytes, backlog_bytes + manifest_bytes + logs + aside + may_grow)
        return backlog_used + manifest_used + logs + aside + needed - limit
