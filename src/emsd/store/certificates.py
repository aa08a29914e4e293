"""Certificates and contracts: entered once, never changed; the database refuses a serial that is there already."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

import asyncpg

from emsd.energy.ledger.inputs import InstrumentLevel
from emsd.errors import LedgerRefused, UnknownEntry
from emsd.store.pool import Pool, Session, session

__all__ = [
    "KINDS",
    "InstrumentRow",
    "NewInstrument",
    "add_instrument",
    "instrument_called",
    "instruments_of",
    "list_instruments",
    "require_instrument",
    "valid_until",
]

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

VALIDITY_MONTHS: Final[dict[str, int]] = {"gec": 24, "go": 18}
"""After production. GEC: rules for green electricity certificates, National Energy Administration of China, 2024, two
years. GO: Directive (EU) 2018/2001, article 19 (3), 18 months at the latest."""
_VALIDITY_OF_OTHERS_MONTHS: Final = 24
"""No rule of their issuers; retiring what is older than that deserves a second look."""

_ADD: Final = """
INSERT INTO carbon_instrument (site_id, registry, serial, last_serial, kind, level, own_pv, energy_source, energy_mwh,
    kg_per_kwh, produced_from, produced_to, valid_to, document, author, note)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) RETURNING instrument_id"""
_LIST: Final = """
SELECT instrument_id, registry, serial, last_serial, kind, level, own_pv, energy_source, energy_mwh, kg_per_kwh,
    produced_from, produced_to, valid_to, document, author, note, recorded_at, retired_mwh, sold_mwh, cancelled_mwh,
    left_mwh, is_void
FROM carbon_instrument_stock WHERE site_id = $1 AND ($2::bigint IS NULL OR instrument_id = $2)
ORDER BY produced_from, instrument_id"""


@dataclass(frozen=True, slots=True)
class NewInstrument:
    """A certificate, a batch from `serial` to `last_serial`, or a contract; see table carbon_instrument."""

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
    last_serial: str | None = None


@dataclass(frozen=True, slots=True)
class InstrumentRow(NewInstrument):
    """A certificate or contract with what is left of it [MWh]; `is_void`: it was entered by mistake."""

    instrument_id: int = 0
    level: InstrumentLevel = "certificate"
    recorded_at: datetime | None = None
    retired_mwh: Decimal = Decimal(0)
    sold_mwh: Decimal = Decimal(0)
    cancelled_mwh: Decimal = Decimal(0)
    left_mwh: Decimal = Decimal(0)
    is_void: bool = False


def valid_until(kind: str, produced_to: datetime) -> datetime:
    """Return until when a certificate is valid unless it says otherwise: some months after its production."""
    months = produced_to.month - 1 + VALIDITY_MONTHS.get(kind, _VALIDITY_OF_OTHERS_MONTHS)
    year, month = produced_to.year + months // 12, months % 12 + 1
    return produced_to.replace(year=year, month=month, day=min(produced_to.day, monthrange(year, month)[1]))


async def add_instrument(pool: Pool, site_id: int, new: NewInstrument) -> int:
    """Enter a certificate or contract and return its number.

    Raises:
        LedgerRefused: some of its serials are in the ledger already, or it is not as many certificates as MWh.
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "enter a certificate") as connection:
        try:
            number = await connection.fetchval(
                _ADD, site_id, new.registry, new.serial, new.last_serial, new.kind, KINDS[new.kind], new.own_pv,
                new.energy_source, new.energy_mwh, new.kg_per_kwh, new.produced_from, new.produced_to, new.valid_to,
                new.document, new.author, new.note,
            )  # fmt: skip
        except asyncpg.RaiseError as error:
            raise LedgerRefused(str(error)) from None
        except asyncpg.CheckViolationError:
            raise LedgerRefused(
                f"{new.serial}: {new.energy_mwh} MWh from {new.produced_from} to {new.produced_to} cannot be entered;"
                " one certificate is 1 MWh, and production ends after it began"
            ) from None
    return int(number)


async def list_instruments(pool: Pool, site_id: int, instrument_id: int | None = None) -> list[InstrumentRow]:
    """Return the instruments of a site, or one of them, with what is left.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "list the certificates") as connection:
        return await instruments_of(connection, site_id, instrument_id)


async def instruments_of(connection: Session, site_id: int, instrument_id: int | None = None) -> list[InstrumentRow]:
    """Return what `list_instruments` does, in the caller's transaction."""
    return [InstrumentRow(**dict(row)) for row in await connection.fetch(_LIST, site_id, instrument_id)]


async def require_instrument(connection: Session, site_id: int, instrument_id: int) -> InstrumentRow:
    """Return one instrument; raises UnknownEntry when there is none of this number."""
    for row in await instruments_of(connection, site_id, instrument_id):
        return row
    raise UnknownEntry(f"there is no certificate or contract {instrument_id}")


async def instrument_called(pool: Pool, site_id: int, serial: str) -> InstrumentRow:
    """Return the instrument of a serial, or of a number.

    Raises:
        UnknownEntry: there is none, or several registries have one.
        StoreUnavailable: the database cannot be reached now.
    """
    rows = await list_instruments(pool, site_id)
    by_serial = [row for row in rows if row.serial == serial and not row.is_void]
    found = by_serial or [row for row in rows if serial == str(row.instrument_id)]
    if len(found) != 1:
        what = "no certificate or contract is" if not found else "several are"
        raise UnknownEntry(f"{what} called {serial!r}; `emsd carbon certificates list` shows their numbers")
    return found[0]
