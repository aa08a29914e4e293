"""The journal of what was done with certificates and contracts: only ever written on.

Nothing here is ever changed: the database refuses it, and refuses to use a megawatt-hour twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, TypeAlias

import asyncpg

from emsd.energy.ledger.inputs import Allocation, Instrument
from emsd.errors import LedgerRefused, UnknownEntry
from emsd.store.certificates import InstrumentRow, instruments_of, require_instrument
from emsd.store.pool import Pool, Session, session

__all__ = [
    "EventKind",
    "EventRow",
    "NewEvent",
    "NewEventKind",
    "add_event",
    "list_events",
    "read_instruments",
    "reverse_event",
]

NewEventKind: TypeAlias = Literal["retire", "sell", "cancel", "void"]
EventKind: TypeAlias = Literal["retire", "sell", "cancel", "void", "reverse"]

_ADD_EVENT: Final = """
INSERT INTO carbon_instrument_event (instrument_id, kind, energy_mwh, period_from, period_to, happened_at, reverses,
    document, author, note)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING event_id"""
_EVENTS: Final = """
SELECT event_id, instrument_id, event.kind, event.energy_mwh, period_from, period_to, happened_at, reverses,
    event.document, event.author, event.note, event.recorded_at,
    EXISTS (SELECT FROM carbon_instrument_event AS later WHERE later.reverses = event.event_id) AS is_reversed
FROM carbon_instrument_event AS event JOIN carbon_instrument USING (instrument_id)
WHERE site_id = $1 AND ($2::bigint IS NULL OR instrument_id = $2) ORDER BY event_id"""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something to be done with an instrument; the period of use belongs to a retirement alone."""

    instrument_id: int
    kind: NewEventKind
    energy_mwh: Decimal
    happened_at: datetime
    document: str
    author: str
    note: str = ""
    period_from: datetime | None = None
    period_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventRow:
    """One entry of the journal."""

    event_id: int
    instrument_id: int
    kind: EventKind
    energy_mwh: Decimal
    period_from: datetime | None
    period_to: datetime | None
    happened_at: datetime
    reverses: int | None
    document: str
    author: str
    note: str
    recorded_at: datetime
    is_reversed: bool


async def add_event(pool: Pool, site_id: int, new: NewEvent) -> int:
    """Retire, sell or cancel a part of an instrument, or take all of it back; return the number of the entry.

    Raises:
        UnknownEntry: there is no such instrument.
        LedgerRefused: not so much is left of it, or it is not valid for this.
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "write into the journal of certificates") as connection:
        await require_instrument(connection, site_id, new.instrument_id)
        try:
            number = await connection.fetchval(
                _ADD_EVENT, new.instrument_id, new.kind, new.energy_mwh, new.period_from, new.period_to,
                new.happened_at, None, new.document, new.author, new.note,
            )  # fmt: skip
        except asyncpg.RaiseError as error:
            raise LedgerRefused(str(error)) from None
        except asyncpg.CheckViolationError:
            raise LedgerRefused(
                f"{new.energy_mwh} MWh for {new.period_from} to {new.period_to} cannot be; write more than 0 MWh, and"
                " an end after the beginning"
            ) from None
    return int(number)


async def reverse_event(pool: Pool, site_id: int, event_id: int, *, author: str, note: str, now: datetime) -> int:
    """Take back an entry of the journal by a new one; what it used is free again.

    Raises:
        UnknownEntry: there is no such entry.
        LedgerRefused: it was taken back before, or cannot be.
        StoreUnavailable: the database cannot be reached now.
    """
    found = next((each for each in await list_events(pool, site_id) if each.event_id == event_id), None)
    if found is None:
        raise UnknownEntry(f"the journal has no entry {event_id}; `emsd carbon certificates journal` shows all")
    async with session(pool, "write into the journal of certificates") as connection:
        try:
            number = await connection.fetchval(
                _ADD_EVENT, found.instrument_id, "reverse", found.energy_mwh, None, None, now, event_id,
                found.document, author, note,
            )  # fmt: skip
        except (asyncpg.UniqueViolationError, asyncpg.RaiseError):
            raise LedgerRefused(
                f"entry {event_id} was taken back before, takes one back itself, or is void; what was made void is"
                " entered again"
            ) from None
    return int(number)


async def list_events(pool: Pool, site_id: int, instrument_id: int | None = None) -> list[EventRow]:
    """Return the journal of a site, or of one instrument, the oldest entry first.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "read the journal of certificates") as connection:
        return [EventRow(**dict(row)) for row in await connection.fetch(_EVENTS, site_id, instrument_id)]


async def read_instruments(connection: Session, site_id: int, from_: datetime, to: datetime) -> list[Instrument]:
    """Return the instruments that were retired for a time that touches [from_, to), or produced in it and sold."""
    events: dict[int, list[EventRow]] = defaultdict(list)
    for record in await connection.fetch(_EVENTS, site_id, None):
        events[record["instrument_id"]].append(EventRow(**dict(record)))
    found = []
    for row in await instruments_of(connection, site_id):
        allocations = _allocations(row, events[row.instrument_id], from_, to)
        if allocations:
            found.append(_instrument(row, allocations))
    return found


def _allocations(row: InstrumentRow, events: Sequence[EventRow], from_: datetime, to: datetime) -> list[Allocation]:
    found = []
    for event in events:
        if event.is_reversed or event.kind not in {"retire", "sell"}:
            continue
        begin, end = event.period_from or row.produced_from, event.period_to or row.produced_to
        if begin < to and end > from_:
            found.append(
                Allocation(
                    event_id=event.event_id,
                    kind="retire" if event.kind == "retire" else "sell",
                    energy_kwh=event.energy_mwh * 1000,
                    period_from=begin,
                    period_to=end,
                )
            )
    return found


def _instrument(row: InstrumentRow, allocations: list[Allocation]) -> Instrument:
    return Instrument(
        instrument_id=row.instrument_id,
        registry=row.registry,
        serial=row.serial,
        last_serial=row.last_serial,
        kind=row.kind,
        level=row.level,
        own_pv=row.own_pv,
        energy_source=row.energy_source,
        energy_kwh=row.energy_mwh * 1000,
        kg_per_kwh=row.kg_per_kwh,
        produced_from=row.produced_from,
        produced_to=row.produced_to,
        valid_to=row.valid_to,
        document=row.document,
        allocations=tuple(allocations),
    )
