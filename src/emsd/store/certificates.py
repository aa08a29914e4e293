"""Certificates and contracts, and the journal of what was done with them.

Nothing here is ever changed: the database refuses it, and refuses to use a megawatt-hour twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, TypeAlias

import asyncpg

from emsd.energy.ledger.inputs import Allocation, Instrument, InstrumentLevel
from emsd.errors import LedgerRefused, UnknownEntry
from emsd.store.pool import Pool, Session, session

__all__ = [
    "KINDS",
    "EventKind",
    "EventRow",
    "InstrumentRow",
    "NewEvent",
    "NewInstrument",
    "add_event",
    "add_instrument",
    "instrument_called",
    "list_events",
    "list_instruments",
    "read_instruments",
    "reverse_event",
    "valid_until",
]

EventKind: TypeAlias = Literal["retire", "sell", "cancel", "reverse"]

KINDS: Final[dict[str, InstrumentLevel]] = {
    "gec": "certificate",
    "i_rec": "certificate",
    "go": "certificate",
    "rec": "certificate",
    "granular": "certificate",
    "ppa": "contract",
    "green_tariff": "contract",
    "other_contract": "contract",
}
"""Green electricity certificate (China), I-REC(E), guarantee of origin (EU), REC (US), certificate by the hour
(EnergyTag); power purchase agreement, supplier's green product."""

VALIDITY_YEARS: Final = 2
"""Of green electricity certificates (China, National Energy Administration, rules of 2024)."""

_ADD: Final = """
INSERT INTO carbon_instrument (site_id, registry, serial, kind, level, own_pv, energy_source, energy_mwh, kg_per_kwh,
    produced_from, produced_to, valid_to, document, author, note)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) RETURNING instrument_id"""
_ADD_EVENT: Final = """
INSERT INTO carbon_instrument_event (instrument_id, kind, energy_mwh, period_from, period_to, happened_at, reverses,
    document, author, note)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING event_id"""
_LIST: Final = """
SELECT instrument_id, registry, serial, kind, level, own_pv, energy_source, energy_mwh, kg_per_kwh, produced_from,
    produced_to, valid_to, document, author, note, recorded_at, retired_mwh, sold_mwh, cancelled_mwh, left_mwh
FROM carbon_instrument_stock WHERE site_id = $1 AND ($2::bigint IS NULL OR instrument_id = $2)
ORDER BY produced_from, instrument_id"""
_EVENTS: Final = """
SELECT event_id, instrument_id, event.kind, event.energy_mwh, period_from, period_to, happened_at, reverses,
    event.document, event.author, event.note, event.recorded_at,
    EXISTS (SELECT FROM carbon_instrument_event AS later WHERE later.reverses = event.event_id) AS is_reversed
FROM carbon_instrument_event AS event JOIN carbon_instrument USING (instrument_id)
WHERE site_id = $1 AND ($2::bigint IS NULL OR instrument_id = $2) ORDER BY event_id"""


@dataclass(frozen=True, slots=True)
class NewInstrument:
    """A certificate or contract to be entered; see table carbon_instrument."""

    registry: str
    serial: str
    kind: str
    own_pv: bool
    energy_source: str
    energy_mwh: Decimal
    kg_per_kwh: Decimal
    produced_from: datetime
    produced_to: datetime
    valid_to: datetime
    document: str
    author: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class InstrumentRow(NewInstrument):
    """A certificate or contract with what is left of it [MWh]."""

    instrument_id: int = 0
    level: InstrumentLevel = "certificate"
    recorded_at: datetime | None = None
    retired_mwh: Decimal = Decimal(0)
    sold_mwh: Decimal = Decimal(0)
    cancelled_mwh: Decimal = Decimal(0)
    left_mwh: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something to be done with an instrument; the period of use belongs to a retirement alone."""

    instrument_id: int
    kind: Literal["retire", "sell", "cancel"]
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


def valid_until(produced_to: datetime) -> datetime:
    """Return until when a certificate is valid unless it says otherwise: two years after its production."""
    # A 29th of February has no second anniversary.
    day = produced_to if (produced_to.month, produced_to.day) != (2, 29) else produced_to - timedelta(days=1)
    return day.replace(year=day.year + VALIDITY_YEARS)


async def add_instrument(pool: Pool, site_id: int, new: NewInstrument) -> int:
    """Enter a certificate or contract and return its number.

    Raises:
        LedgerRefused: its serial is in the ledger already, or a certificate is no whole number of MWh.
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "enter a certificate") as connection:
        try:
            number = await connection.fetchval(
                _ADD, site_id, new.registry, new.serial, new.kind, KINDS[new.kind], new.own_pv, new.energy_source,
                new.energy_mwh, new.kg_per_kwh, new.produced_from, new.produced_to, new.valid_to, new.document,
                new.author, new.note,
            )  # fmt: skip
        except asyncpg.UniqueViolationError:
            raise LedgerRefused(
                f"{new.registry} {new.serial} is in the ledger already; a certificate counts once"
            ) from None
        except asyncpg.CheckViolationError:
            raise LedgerRefused(
                f"{new.serial}: {new.energy_mwh} MWh from {new.produced_from} to {new.produced_to} cannot be entered;"
                " one certificate is 1 MWh, and production ends after it began"
            ) from None
    return int(number)


async def add_event(pool: Pool, site_id: int, new: NewEvent) -> int:
    """Retire, sell or cancel a part of an instrument; return the number of the entry.

    Raises:
        UnknownEntry: there is no such instrument.
        LedgerRefused: not so much is left of it, or it is not valid for this.
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "write into the journal of certificates") as connection:
        await _require(connection, site_id, new.instrument_id)
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
        LedgerRefused: it was taken back before.
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
            raise LedgerRefused(f"entry {event_id} was taken back before, or takes one back itself") from None
    return int(number)


async def list_instruments(pool: Pool, site_id: int, instrument_id: int | None = None) -> list[InstrumentRow]:
    """Return the instruments of a site, or one of them, with what is left.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "list the certificates") as connection:
        return [InstrumentRow(**dict(row)) for row in await connection.fetch(_LIST, site_id, instrument_id)]


async def instrument_called(pool: Pool, site_id: int, serial: str) -> InstrumentRow:
    """Return the instrument of a serial, or of a number.

    Raises:
        UnknownEntry: there is none, or several registries have one.
        StoreUnavailable: the database cannot be reached now.
    """
    rows = await list_instruments(pool, site_id)
    found = [row for row in rows if serial in {row.serial, str(row.instrument_id)}]
    if len(found) != 1:
        what = "no certificate or contract is" if not found else "several are"
        raise UnknownEntry(f"{what} called {serial!r}; `emsd carbon certificates list` shows their numbers")
    return found[0]


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
    rows = [InstrumentRow(**dict(record)) for record in await connection.fetch(_LIST, site_id, None)]
    found = []
    for row in rows:
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


async def _require(connection: Session, site_id: int, instrument_id: int) -> None:
    if not await connection.fetch(_LIST, site_id, instrument_id):
        raise UnknownEntry(f"there is no certificate or contract {instrument_id}")
