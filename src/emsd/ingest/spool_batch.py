"""A batch of the spool: as a row of the backlog, as what the manifest knows of it, and what comes back of it.

A row and its entry in the manifest carry a checksum each, over their number and kind as well, so that neither can pass
for another's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from emsd.collector import Poison
from emsd.errors import BadRow
from emsd.ingest.losses import loss_of
from emsd.ingest.spool_codec import (
    Share,
    checksum,
    decode,
    decode_poisons,
    encode,
    encode_poisons,
    pack_shares,
    shares_of,
    unpack_shares,
)
from emsd.readings import Reading
from emsd.store.loss import Loss
from emsd.store.quarantine import poison_of
from emsd.store.spool_backlog import Row
from emsd.store.spool_manifest import Content

__all__ = [
    "POISONS",
    "READINGS",
    "Batch",
    "Saved",
    "Taken",
    "batch_of_poisons",
    "batches_of",
    "content_of",
    "is_intact",
    "is_whole",
    "losses_of",
]

READINGS: Final = 0
POISONS: Final = 1


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that has no number yet; `shares` are empty for messages."""

    kind: int
    items: int
    payload: bytes
    shares: Sequence[Share] = ()

    def numbered(self, batch_id: int) -> tuple[Row, Content]:
        """Return its row of the backlog, and what the manifest is to know of it."""
        row = Row(batch_id, self.kind, self.items, checksum(batch_id, self.kind, self.payload), self.payload)
        return row, _content(row, self.shares)


@dataclass(frozen=True, slots=True)
class Saved:
    """What became of a batch: `readings` are in the spool; `malformed` are there as messages for the quarantine."""

    readings: int
    malformed: int


@dataclass(slots=True)
class Taken:
    """Batches that are on their way to the database; `unknown` and `poisons` are for the quarantine."""

    batch_ids: list[int] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    unknown: list[Poison] = field(default_factory=list)
    """Readings with a quantity that this version does not know."""
    poisons: list[Poison] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Take what an intact row holds."""
        self.batch_ids.append(row.batch_id)
        if row.kind == READINGS:
            readings, unknown = decode(row.payload)
            self.readings += readings
            self.unknown += [poison_of(reading, reason, row.batch_id) for reading, reason in unknown]
        else:
            self.poisons += decode_poisons(row.payload)


def batches_of(readings: Sequence[Reading], now_us: Callable[[], int]) -> tuple[list[Batch], int]:
    """Return readings as batches, and how many of them are malformed: those are a batch for the quarantine."""
    malformed: list[Poison] = []
    try:
        payload = encode(readings)
    except BadRow:
        readings, malformed = _sort_out(readings, now_us)
        payload = encode(readings)
    batches = [Batch(READINGS, len(readings), payload, shares_of(readings))] if readings else []
    if malformed:
        batches.append(batch_of_poisons(malformed))
    return batches, len(malformed)


def batch_of_poisons(poisons: Sequence[Poison]) -> Batch:
    """Return messages for the quarantine as a batch."""
    return Batch(POISONS, len(poisons), encode_poisons(poisons))


def is_intact(row: Row) -> bool:
    """Return whether a row of the backlog is as it was written."""
    return row.checksum == checksum(row.batch_id, row.kind, row.payload)


def is_whole(content: Content) -> bool:
    """Return whether what the manifest knows of a batch is as it was written."""
    return content.checksum == checksum(content.batch_id, content.kind, content.shares)


def content_of(row: Row) -> Content:
    """Return what the manifest is to know of an intact row, from the row itself."""
    return _content(row, shares_of(decode(row.payload)[0]) if row.kind == READINGS else ())


def losses_of(content: Content, reason: str) -> list[Loss]:
    """Return what is lost with a batch, by meter and time; nothing when the manifest's entry is damaged."""
    if not is_whole(content):
        return []
    return [
        loss_of(share.meter_id, share.readings, share.first_us, share.last_us, reason)
        for share in unpack_shares(content.shares)
    ]


def _content(row: Row, shares: Sequence[Share]) -> Content:
    packed = pack_shares(shares)
    return Content(row.batch_id, row.kind, row.items, checksum(row.batch_id, row.kind, packed), packed)


def _sort_out(readings: Sequence[Reading], now_us: Callable[[], int]) -> tuple[list[Reading], list[Poison]]:
    good: list[Reading] = []
    malformed: list[Poison] = []
    for reading in readings:
        try:
            encode([reading])
        except BadRow as error:
            malformed.append(poison_of(reading, str(error), now_us()))
        else:
            good.append(reading)
    return good, malformed
