"""Spools of parts that no longer are: what is in them goes to the database only when such a part runs again."""

from __future__ import annotations

import re
from pathlib import Path

import structlog

from emsd.collector import wall_clock_us
from emsd.errors import IngestError
from emsd.ingest.spool_folder import SpoolFolder, SpoolTotals
from emsd.service.roles import Shard

__all__ = ["spool_folder_of", "tell_of_spools_left_behind"]

_log = structlog.get_logger(__name__)


def spool_folder_of(place: Path, site_number: int, shard: Shard) -> Path:
    """Return the folder of a part's spool."""
    return place / f"site-{site_number}-part-{shard.number}-of-{shard.count}"


def tell_of_spools_left_behind(place: Path, site_number: int, shard: Shard) -> int:
    """Say in the log which spools of another division of this site hold something, and return how many do.

    Those of the same division belong to processes that run beside this one, or will; they are not touched.
    """
    found = 0
    for folder in sorted(place.glob(f"site-{site_number}-part-*-of-*")):
        named = re.fullmatch(r"part-(\d+)-of-(\d+)", folder.name.removeprefix(f"site-{site_number}-"))
        if named is None or int(named[2]) == shard.count:
            continue
        totals = _totals(folder)
        if totals is not None and (totals.batches or totals.losses):
            found += 1
            part = f"{named[1]}/{named[2]}"
            _log.error(
                "spool_left_behind",
                folder=str(folder),
                readings=totals.readings,
                losses=len(totals.losses),
                cure=f"stop this part, and run `emsd collect --shard {part}` until its spool is empty",
            )
    return found


def _totals(folder: Path) -> SpoolTotals | None:
    """Return what a spool holds; None when a process has it, or it cannot be read."""
    if not (folder / "manifest.sqlite").exists():
        return None
    spool = SpoolFolder(folder, max_bytes=2**40, min_free_bytes=0, now_us=wall_clock_us)
    try:
        spool.open()
        return spool.totals()
    except IngestError:
        return None
    finally:
        spool.close()
