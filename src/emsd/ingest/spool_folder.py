"""The spool on disk: what is written to which file first, what is found after a kill or a damage, and the bound.

    save      backlog, then manifest, then acknowledge
    done      manifest (with what was lost), then backlog

So a batch that the manifest knows and the backlog lacks has been lost, and its readings are known by meter and time;
one that only the backlog has is known again by reading it. Everything here runs in one thread.

| found | done about it |
|---|---|
| a batch's checksum does not hold | its readings are counted as lost |
| the bound is reached | files set aside go first, then the oldest batches, counted as lost |
| the disk is full, read-only, failing | SpoolUnavailable; the next call tries again |
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import structlog

from emsd.collector import Poison
from emsd.errors import SpoolDamaged, SpoolInUse, SpoolUnavailable
from emsd.ingest.spool_aside import delete_oldest_aside
from emsd.ingest.spool_batch import (
    POISONS,
    READINGS,
    Batch,
    Saved,
    Taken,
    batch_of_poisons,
    batches_of,
    content_of,
    is_intact,
    is_whole,
    losses_of,
)
from emsd.ingest.spool_files import SpoolFiles
from emsd.ingest.spool_room import SpoolRoom
from emsd.readings import Reading
from emsd.store.loss import Loss
from emsd.store.spool_backlog import Backlog, Row
from emsd.store.spool_manifest import Content, Manifest
from emsd.store.sqlite_file import PAGE_BYTES

__all__ = ["DAMAGED", "SPOOL_FULL", "SpoolFolder", "SpoolTotals"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

SPOOL_FULL: Final = "the spool was full while the database did not keep up"
DAMAGED: Final = "the spool was damaged"

LOG_PAGES: Final = 1000
SHRINK_ABOVE_BYTES: Final = 8 * 1024 * 1024
ROW_BYTES: Final = 3 * PAGE_BYTES  # what a batch may take beside its payload: rounding up to pages, cells, index pages


@dataclass(frozen=True, slots=True)
class SpoolTotals:
    """The spool at one moment; counts are since it was opened."""

    readings: int = 0
    batches: int = 0
    poisons: int = 0
    bytes_on_disk: int = 0
    oldest_us: int | None = None
    """When the oldest batch was saved, in microseconds since the epoch."""
    recovered: int = 0
    """Readings that an earlier process had left here."""
    lost: int = 0
    """Readings that had to go: dropped for the bound, or damaged."""
    dropped: int = 0
    """Those of the lost that were dropped for the bound."""
    losses: tuple[Loss, ...] = ()
    """What is not in the table `reading_loss` yet."""


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: int
    items: int
    bytes: int


class SpoolFolder:
    """Everything the spool does, synchronously; methods raise SpoolUnavailable unless they say otherwise."""

    def __init__(self, folder: Path, *, max_bytes: int, min_free_bytes: int, now_us: Callable[[], int]) -> None:
        self.folder = folder
        self._now_us = now_us
        self._disk = SpoolFiles(folder, log_pages=max(4, min(LOG_PAGES, max_bytes // 16 // PAGE_BYTES)), now_us=now_us)
        self._room = SpoolRoom(self._disk, max_bytes=max_bytes, min_free_bytes=min_free_bytes)
        self._files: tuple[Backlog, Manifest] | None = None
        self._index: dict[int, _Entry] = {}
        self._items = Counter[int]()
        self._last_id = 0
        self._taken: set[int] = set()
        # Leftovers of calls that failed half-way, put right by the next one.
        self._half_saved: set[int] = set()
        self._stored: set[int] = set()
        self._finished: set[int] = set()
        self._gone: set[int] = set()
        self._recovered = self._lost = self._dropped = 0
        self._losses: tuple[Loss, ...] = ()
        self._bytes = 0

    # Opening and closing.

    def open(self) -> None:
        """Open the spool, make it, or put it right.

        Raises:
            SpoolInUse: another process has it.
            SpoolUnavailable: it cannot be opened now.
        """
        self._with_files(lambda _backlog, _manifest: None)

    def close(self) -> None:
        """Close the files and let another process have them."""
        self._close_files()
        self._disk.unlock()

    def totals(self) -> SpoolTotals:
        """Return where it stands; never raises."""
        return SpoolTotals(
            readings=self._items[READINGS],
            batches=len(self._index),
            poisons=self._items[POISONS],
            bytes_on_disk=self._bytes,
            oldest_us=next(iter(self._index), None),
            recovered=self._recovered,
            lost=self._lost,
            dropped=self._dropped,
            losses=self._losses,
        )

    # Batches.

    def save(self, readings: Sequence[Reading]) -> Saved:
        """Put readings on the disk; they are there when it returns."""
        batches, malformed = batches_of(readings, self._now_us)
        self._with_files(lambda backlog, manifest: self._insert(backlog, manifest, batches))
        return Saved(len(readings) - malformed, malformed)

    def save_poisons(self, poisons: Sequence[Poison]) -> None:
        """Put messages for the quarantine on the disk."""
        batch = batch_of_poisons(poisons)
        self._with_files(lambda backlog, manifest: self._insert(backlog, manifest, [batch]))

    def take(self, max_items: int, *, after: int = 0, newest: bool = False) -> Taken:
        """Return the oldest batches after number `after`, or the newest one; they stay until `forget`."""
        return self._with_files(lambda backlog, manifest: self._take(backlog, manifest, max_items, after, newest))

    def give_back(self, batch_ids: Iterable[int] | None = None) -> None:
        """What was taken (None: all of it) was not stored; never raises."""
        self._taken -= set(self._taken if batch_ids is None else batch_ids)

    def forget(self, batch_ids: Sequence[int]) -> None:
        """What was taken is in the database; never raises: what cannot be deleted now is deleted later."""
        for batch_id in batch_ids:
            if batch_id in self._index:
                self._leave(batch_id)
        self._taken -= set(batch_ids)
        self._stored |= set(batch_ids)
        try:
            self._with_files(self._clear)
        except (SpoolUnavailable, SpoolInUse) as error:
            log.warning("spool_not_cleared", batches=len(self._stored), error=str(error))

    # What else must survive a kill.

    def add_losses(self, losses: Sequence[Loss]) -> None:
        """Keep losses until the database has them."""
        self._with_files(lambda _, manifest: manifest.add_losses(losses))
        self._with_files(self._know_losses)

    def close_losses(self, now_us: int) -> tuple[tuple[Loss, ...], int]:
        """Return losses that change no more, and when they were recorded; the same again until `losses_written`."""
        return self._with_files(lambda _, manifest: manifest.close_losses(now_us))

    def losses_written(self, recorded_us: int) -> None:
        """The database has what `close_losses` returned."""
        self._with_files(lambda _, manifest: manifest.losses_written(recorded_us))
        self._with_files(self._know_losses)

    def remember_meters(self, site_number: int, meter_ids: Mapping[str, int]) -> None:
        """Keep the numbers of a site's meters."""
        self._with_files(lambda _, manifest: manifest.remember_meters(site_number, meter_ids))

    def known_meters(self, site_number: int) -> dict[str, int]:
        """Return the numbers of a site's meters as they were remembered."""
        return self._with_files(lambda _, manifest: manifest.known_meters(site_number))

    def set_note(self, key: str, value: str) -> None:
        """Keep a text under a key."""
        self._with_files(lambda _, manifest: manifest.set_note(key, value))

    def note(self, key: str) -> str | None:
        """Return the text kept under a key."""
        return self._with_files(lambda _, manifest: manifest.note(key))

    # The work, on open files.

    def _with_files(self, work: Callable[[Backlog, Manifest], T]) -> T:
        """Do the work; when that shows a damage, put it right and do the work once more."""
        try:
            try:
                return work(*(self._files or self._open_files()))
            except SpoolDamaged as error:
                log.error("spool_damaged", error=str(error))  # noqa: TRY400 - the cause is in the text
                self._close_files()
                return work(*self._open_files(salvage_backlog=error.path == self._disk.backlog_path))
        except SpoolDamaged as error:
            self._close_files()
            raise SpoolUnavailable(f"the spool cannot be put right: {error}") from error
        except SpoolUnavailable as error:
            # A full disk leaves the files as good as they were; after anything else they are opened anew.
            if getattr(error.__cause__, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL and error.__cause__:
                self._close_files()
            raise

    def _insert(self, backlog: Backlog, manifest: Manifest, batches: Sequence[Batch]) -> None:
        self._clear(backlog, manifest)
        rows: list[Row] = []
        contents: list[Content] = []
        for batch in batches:
            self._last_id = max(self._last_id + 1, self._now_us())
            row, content = batch.numbered(self._last_id)
            rows.append(row)
            contents.append(content)
        self._make_room(
            backlog,
            manifest,
            sum(len(r.payload) + len(c.shares) + ROW_BYTES for r, c in zip(rows, contents, strict=True)),
        )
        ids = {row.batch_id for row in rows}
        self._half_saved |= ids
        backlog.insert(rows)
        manifest.add(contents)
        self._half_saved -= ids
        for row in rows:
            self._enter(row.batch_id, _Entry(row.kind, row.items, len(row.payload)))
        self._measure(backlog, manifest)

    def _take(self, backlog: Backlog, manifest: Manifest, max_items: int, after: int, newest: bool) -> Taken:  # noqa: FBT001
        taken = Taken()
        items = 0
        for batch_id in [next(reversed(self._index))] if newest and self._index else list(self._index):
            if batch_id <= after or batch_id in self._taken:
                continue
            row = backlog.read(batch_id)
            if row is None or not is_intact(row):
                self._lose(manifest, [batch_id], DAMAGED)
                continue
            taken.add(row)
            items += row.items
            if items >= max_items:
                break
        self._taken |= set(taken.batch_ids)
        self._clear_if_possible(backlog, manifest)
        return taken

    def _clear_if_possible(self, backlog: Backlog, manifest: Manifest) -> None:
        """Put right what can be now: on a full disk nothing can be deleted, and the backlog is drained all the same."""
        try:
            self._clear(backlog, manifest)
        except SpoolUnavailable as error:
            log.warning("spool_not_cleared", batches=len(self._stored), error=str(error))

    def _make_room(self, backlog: Backlog, manifest: Manifest, needed: int) -> None:
        """Make room for `needed` more bytes within the bound and above the least free space."""
        while (over := self._room.bytes_over(backlog, manifest, needed)) > 0:
            if delete_oldest_aside(self.folder):
                continue
            victims: list[int] = []
            freed = 0
            for batch_id, entry in self._index.items():
                if freed >= over:
                    break
                if batch_id not in self._taken:
                    victims.append(batch_id)
                    freed += entry.bytes
            if freed < over - ROW_BYTES * (1 + len(victims)) or not victims:
                raise SpoolUnavailable(
                    f"the spool in {self.folder} has no room for {needed} more bytes; raise EMSD_SPOOL_MAX_MB, or free "
                    "space on its disk"
                )
            self._lose(manifest, victims, SPOOL_FULL)
            self._clear(backlog, manifest)

    def _lose(self, manifest: Manifest, batch_ids: Sequence[int], reason: str) -> None:
        """Note batches as lost, by meter and time; the manifest has it when this returns."""
        losses: list[Loss] = []
        for batch_id in batch_ids:
            content = manifest.content(batch_id)
            entry = self._index[batch_id]
            losses += losses_of(content, reason) if content else ()
            if entry.kind == POISONS or content is None or not is_whole(content):
                log.error("spooled_batch_lost", batch=batch_id, items=entry.items, reason=reason)
        manifest.finish(batch_ids, losses, gone=self._gone)
        self._gone.clear()
        self._finished |= set(batch_ids)
        for batch_id in batch_ids:
            entry = self._leave(batch_id)
            if entry.kind == READINGS:
                self._lost += entry.items
                self._dropped += entry.items if reason == SPOOL_FULL else 0
        self._losses = manifest.losses()

    def _clear(self, backlog: Backlog, manifest: Manifest) -> None:
        """Put right what earlier calls left half done."""
        if self._stored:
            manifest.finish(self._stored, gone=self._gone)
            self._gone.clear()
            self._finished |= self._stored
            self._stored.clear()
        if self._finished or self._half_saved:
            backlog.delete(self._finished | self._half_saved)
            self._gone |= self._finished
            self._finished.clear()
            self._half_saved.clear()
            if not self._index and backlog.bytes_held()[0] > SHRINK_ABOVE_BYTES:
                backlog.give_back_space()
            self._measure(backlog, manifest)

    def _enter(self, batch_id: int, entry: _Entry) -> None:
        self._index[batch_id] = entry
        self._items[entry.kind] += entry.items

    def _leave(self, batch_id: int) -> _Entry:
        entry = self._index.pop(batch_id)
        self._items[entry.kind] -= entry.items
        return entry

    def _know_losses(self, _backlog: Backlog, manifest: Manifest) -> None:
        self._losses = manifest.losses()

    def _measure(self, backlog: Backlog, manifest: Manifest) -> None:
        self._bytes = self._room.bytes_held(backlog, manifest)

    # Opening.

    def _open_files(self, *, salvage_backlog: bool = False) -> tuple[Backlog, Manifest]:
        backlog, manifest = self._disk.open(salvage_backlog=salvage_backlog)
        try:
            self._reconcile(backlog, manifest)
        except BaseException:
            self._disk.close()
            raise
        self._files = backlog, manifest
        return self._files

    def _close_files(self) -> None:
        self._files = None
        self._disk.close()

    def _reconcile(self, backlog: Backlog, manifest: Manifest) -> None:
        """Make both files tell the same, and count what an earlier process left or this one lost."""
        known_before, self._index = self._index, {}
        self._items.clear()
        leaving = {*manifest.done(), *self._stored, *self._finished, *self._half_saved}
        there = {number: _Entry(kind, items, size) for number, kind, items, size in backlog.batches()}
        manifest.finish(leaving)
        backlog.delete(leaving & there.keys())
        manifest.finish((), gone=leaving)
        for leftovers in (self._stored, self._finished, self._half_saved, self._gone):
            leftovers.clear()
        contents = {content.batch_id: content for content in manifest.contents()}
        for batch_id in [*there]:
            if batch_id in leaving:
                continue
            content = contents.get(batch_id)
            if (content is not None and is_whole(content)) or self._know_again(backlog, manifest, batch_id):
                self._enter(batch_id, there[batch_id])
            else:
                contents.setdefault(batch_id, Content(batch_id, there[batch_id].kind, there[batch_id].items, b"", b""))
        missing = [content for content in contents.values() if content.batch_id not in self._index]
        for batch_id in known_before.keys() - contents.keys() - self._index.keys() - leaving:
            entry = known_before[batch_id]
            missing.append(Content(batch_id, entry.kind, entry.items, b"", b""))
        fresh = [*self._index.items()]
        self._recovered += sum(e.items for number, e in fresh if number not in known_before and e.kind == READINGS)
        self._recovered += sum(c.items for c in missing if c.batch_id not in known_before and c.kind == READINGS)
        for content in missing:
            self._enter(content.batch_id, _Entry(content.kind, content.items, 0))
        self._lose(manifest, [content.batch_id for content in missing], DAMAGED)
        self._last_id = max([self._last_id, *self._index])
        self._clear(backlog, manifest)
        self._measure(backlog, manifest)
        if missing or (self._index and not known_before):
            log.warning("spool_found", batches=len(self._index), batches_lost=len(missing), folder=str(self.folder))

    def _know_again(self, backlog: Backlog, manifest: Manifest, batch_id: int) -> bool:
        """Note again what a batch holds, from itself; False when it cannot be read."""
        row = backlog.read(batch_id)
        if row is None or not is_intact(row):
            return False
        manifest.add([content_of(row)])
        return True
