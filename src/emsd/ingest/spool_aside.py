"""Damaged files of the spool: kept under a name with the time, for a person to look at, as long as there is room."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from emsd.readings import to_datetime

__all__ = ["aside_bytes", "delete_oldest_aside", "set_aside"]

MARK: Final = ".corrupt-"
LOG: Final = "-wal"


def set_aside(path: Path, now_us: int) -> Path | None:
    """Rename a file and its log to `NAME.corrupt-20261123T120000Z`; return the new name, or None when it is not there.

    The log goes first: one that is left alone would be taken for that of the file that comes in its place.
    """
    kept = path.with_name(f"{path.name}{MARK}{to_datetime(now_us):%Y%m%dT%H%M%SZ}")
    number = 1
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}{MARK}{to_datetime(now_us):%Y%m%dT%H%M%SZ}-{number}")
    log = path.with_name(path.name + LOG)
    if log.exists():
        log.rename(kept.with_name(kept.name + LOG))
    if not path.exists():
        return None
    path.rename(kept)
    return kept


def aside_bytes(folder: Path) -> int:
    """Return what the files set aside take."""
    return sum(path.stat().st_size for path in _aside(folder))


def delete_oldest_aside(folder: Path) -> bool:
    """Delete the oldest file that was set aside; False when there is none, or it cannot be deleted."""
    files = sorted(_aside(folder), key=lambda path: path.stat().st_mtime_ns)
    try:
        for path in files[:1]:
            path.unlink()
    except OSError:
        return False
    return bool(files)


def _aside(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if MARK in path.name]
