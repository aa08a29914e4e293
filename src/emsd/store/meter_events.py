"""The ledger of what happened to meters: written once, read by accounting, never changed.

A correction is a new event that supersedes an earlier one, a withdrawal one that only does that. The database refuses
UPDATE and DELETE, also of its owner. The minutes that an event concerns are marked in the transaction that writes it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog

from emsd.energy.events import EventKind, MeterEvent, effective
from emsd.errors import EventRefused
from emsd.readings import to_datetime
from emsd.store.event_detail import detail_of, event_from
from emsd.store.event_marks import mark_changes
from emsd.store.event_place import first_sample_after
from emsd.store.intervals import lead_accounting
from emsd.store.pool import Pool, Session, session

__all__ = ["EventRow", "add_event", "events_changed", "hold_out", "list_events", "read_events", "withdraw_event"]

_log = structlog.get_logger(__name__)

_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_FARTHEST: Final = timedelta(days=366)
_NEAREST: Final = """
SELECT (SELECT time FROM reading WHERE meter_id = $1 AND time <= $2 ORDER BY time DESC LIMIT 1) AS before,
    (SELECT time FROM reading WHERE meter_id = $1 AND time >= $2 ORDER BY time LIMIT 1) AS after,
    (SELECT kept_from FROM retention_horizon WHERE tier = 'raw') AS kept_from
"""
_EFFECTIVE: Final = """
SELECT meter_id, kind, occurred_at, detail FROM meter_event AS event
WHERE meter_id = ANY($1::integer[]) AND kind <> 'withdrawal'
    AND NOT EXISTS (SELECT FROM meter_event AS later WHERE later.supersedes = event.event_id)
ORDER BY occurred_at, event_id
"""
_ROWS: Final = """
SELECT event.*, meter.key AS meter_key, later.event_id AS superseded_by
FROM meter_event AS event JOIN meter USING (meter_id)
LEFT JOIN meter_event AS later ON later.supersedes = event.event_id
"""
_LIST: Final = f"""{_ROWS}
WHERE $1::integer[] IS NULL OR event.meter_id = ANY($1) ORDER BY event.occurred_at DESC, event.event_id DESC LIMIT $2
"""
_ONE: Final = f"{_ROWS} WHERE event.event_id = $1"
_INSERT: Final = """
INSERT INTO meter_event (meter_id, occurred_at, kind, detail, author, note, supersedes)
VALUES ($1, $2, $3, $4::jsonb, $5, $6, $7) RETURNING event_id
"""
_SAME: Final = """
SELECT event_id FROM meter_event AS event
WHERE meter_id = $1 AND occurred_at = $2 AND kind = $3 AND detail = $4::jsonb AND event_id <> $5
    AND NOT EXISTS (SELECT FROM meter_event AS later WHERE later.supersedes = event.event_id)
"""
_OWN_NAME: Final = "emsd"
_HELD_OUT_BEFORE: Final = """
SELECT EXISTS (SELECT FROM meter_event WHERE meter_id = $1 AND kind = 'hold_out' AND author = $4
    AND occurred_at < $3 AND (detail->>'until')::timestamptz > $2)
"""


@dataclass(frozen=True, slots=True)
class EventRow:
    """One entry of the ledger as it was written; `superseded_by` is the number of the one that replaced it."""

    event_id: int
    meter_id: int
    meter_key: str
    kind: str
    occurred_at: datetime
    detail: dict[str, Any]
    author: str
    note: str
    recorded_at: datetime
    supersedes: int | None
    superseded_by: int | None


async def read_events(connection: Session, meter_ids: Collection[int]) -> dict[int, tuple[MeterEvent, ...]]:
    """Return the events of each meter that count, in order of time; a meter without any is absent.

    One that this version cannot read counts for nothing, and is logged.
    """
    found: dict[int, list[MeterEvent]] = defaultdict(list)
    for meter_id, kind, occurred_at, detail in await connection.fetch(_EFFECTIVE, list(meter_ids)):
        try:
            found[meter_id].append(event_from(kind, occurred_at, json.loads(detail)))
        except (ValueError, TypeError, AttributeError) as error:
            _log.error(
                "meter_event_unreadable", meter_id=meter_id, occurred_at=occurred_at.isoformat(), reason=str(error)
            )
    return {meter_id: effective(events) for meter_id, events in found.items()}


async def list_events(pool: Pool, *, meter_ids: Collection[int] | None = None, limit: int = 1000) -> list[EventRow]:
    """Return the ledger of some meters, or of all, the latest event first, with what counts no more.

    Raises:
        StoreError: the database refused.
    """
    async with session(pool, "read the meter events") as connection:
        rows = await connection.fetch(_LIST, None if meter_ids is None else list(meter_ids), limit)
    return [_row(row) for row in rows]


async def add_event(
    pool: Pool,
    meter_id: int,
    event: MeterEvent,
    *,
    author: str,
    note: str,
    now: datetime,
    supersedes: int | None = None,
) -> EventRow:
    """Write an event, and mark the minutes that it concerns; return it as it stands in the ledger.

    Of a swap or a reset the readings around it say which of them is the first after it; that is written down too.

    Raises:
        EventRefused: it lies in the future, is there already, or supersedes what it cannot.
        StoreError: the database refused; nothing was written.
    """
    _check_author(author)
    at = to_datetime(event.at_us)
    if not _EARLIEST <= at <= now:
        raise EventRefused(
            f"{at.isoformat()} is not between the year 2000 and now, {now.isoformat(timespec='seconds')}; check the"
            " time and its offset, and write an event once it has happened"
        )
    async with session(pool, "write a meter event") as connection, connection.transaction():
        await _between_passes(connection)
        if supersedes is not None:
            await _check_superseded(connection, meter_id, supersedes)
        await _check_near(connection, meter_id, event, now)
        async with events_changed(connection, [meter_id]):
            if event.cuts and event.first_us is None:
                known = (await read_events(connection, [meter_id])).get(meter_id, ())
                event = replace(event, first_us=await first_sample_after(connection, meter_id, event, known))
            written = (meter_id, at, event.kind.value, detail_of(event))
            same = await connection.fetchval(_SAME, *written, supersedes or 0)
            if same is not None:
                raise EventRefused(f"event {same} of this meter says the same already; nothing was written")
            event_id = await connection.fetchval(_INSERT, *written, author, note, supersedes)
        (row,) = await connection.fetch(_ONE, event_id)
    return _row(row)


async def withdraw_event(pool: Pool, event_id: int, *, author: str, note: str, meter_id: int | None = None) -> EventRow:
    """Write that an event never happened; return the withdrawal. With `meter_id` it must be one of that meter.

    Raises:
        EventRefused: there is no such event, or it counts no more.
        StoreError: the database refused; nothing was written.
    """
    _check_author(author)
    async with session(pool, "withdraw a meter event") as connection, connection.transaction():
        await _between_passes(connection)
        earlier = await _check_superseded(connection, meter_id, event_id)
        async with events_changed(connection, [earlier.meter_id]):
            written = await connection.fetchval(
                _INSERT, earlier.meter_id, earlier.occurred_at, "withdrawal", "{}", author, note, event_id
            )
        (row,) = await connection.fetch(_ONE, written)
    return _row(row)


async def hold_out(connection: Session, meter_id: int, event: MeterEvent, *, note: str) -> bool:
    """Write, on the service's own account, that samples are left out; False when it had done so before.

    What a person has withdrawn since is not written again.
    """
    if event.kind is not EventKind.HOLD_OUT or event.until_us is None:
        raise ValueError(f"{event.kind} holds nothing out")
    begins, ends = to_datetime(event.at_us), to_datetime(event.until_us)
    if await connection.fetchval(_HELD_OUT_BEFORE, meter_id, begins, ends, _OWN_NAME):
        return False
    async with events_changed(connection, [meter_id]):
        await connection.execute(_INSERT, meter_id, begins, event.kind.value, detail_of(event), _OWN_NAME, note, None)
    return True


@asynccontextmanager
async def events_changed(connection: Session, meter_ids: Sequence[int]) -> AsyncIterator[None]:
    """Mark at the end what the events that were written in the block make out of date; inside a transaction."""
    before = await read_events(connection, meter_ids)
    yield
    await mark_changes(connection, before, await read_events(connection, meter_ids))


def _check_author(author: str) -> None:
    """Refuse a person's entry in the name by which everybody knows those of the service itself."""
    if author.strip().casefold() == _OWN_NAME:
        raise EventRefused(f"{author!r} is how the service signs its own entries; write the name of a person")


async def _between_passes(connection: Session) -> None:
    """Wait for the pass of accounting that is under way, and let none begin before this transaction ends.

    A pass that knew the event not yet could compute readings that came after its reach was looked up; nothing would
    mark them again.
    """
    await lead_accounting(connection, wait=True)


async def _check_near(connection: Session, meter_id: int, event: MeterEvent, now: datetime) -> None:
    """Refuse what would spread energy over years: from 2016, written in place of 2026, to the first sample.

    What lies before the time of which readings are kept changes nothing, and may be written for the record.
    """
    if not (event.cuts or event.reading):
        return
    at = to_datetime(event.at_us)
    before, after, kept_from = await connection.fetchrow(_NEAREST, meter_id, at) or (None, None, None)
    nearest = min((each for each in (before, after) if each is not None), key=lambda each: abs(each - at), default=now)
    if abs(nearest - at) > _FARTHEST and (kept_from is None or at >= kept_from):
        raise EventRefused(
            f"{at.isoformat()} is {abs(nearest - at).days} days from the nearest reading of the meter,"
            f" {nearest.isoformat(timespec='seconds')}; check the year"
        )


async def _check_superseded(connection: Session, meter_id: int | None, event_id: int) -> EventRow:
    """Return the event that is to be superseded, kept from others until the transaction ends."""
    locked = await connection.fetchval("SELECT 1 FROM meter_event WHERE event_id = $1 FOR UPDATE", event_id)
    row = await connection.fetchrow(_ONE, event_id)
    if not locked or row is None:
        raise EventRefused(f"there is no event {event_id}; `emsd events list` shows those there are")
    found = _row(row)
    if meter_id is not None and found.meter_id != meter_id:
        raise EventRefused(f"event {event_id} is one of meter {found.meter_key}; supersede it there")
    if found.superseded_by is not None:
        raise EventRefused(f"event {event_id} counts no more; supersede {found.superseded_by}, which took its place")
    return found


def _row(row: Any) -> EventRow:
    values = {name: row[name] for name in EventRow.__slots__ if name != "detail"}
    return EventRow(**values, detail=json.loads(row["detail"]))
