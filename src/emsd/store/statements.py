"""Statements of the carbon ledger: stored whole, chained, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from emsd.energy.ledger.statement import Statement, read_statement, sha256_of
from emsd.errors import LedgerRefused, UnknownEntry
from emsd.store.pool import Pool, Session, session

__all__ = ["StatementRow", "add_statement", "last_sha256", "list_statements", "statement_numbered"]

_ADD: Final = """
INSERT INTO carbon_statement (site_id, period_from, period_to, document, sha256, previous_sha256, signature, public_key,
    author, created_at, restates, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING statement_id"""
_SELECT: Final = """
SELECT statement.statement_id, statement.site_id, statement.period_from, statement.period_to, statement.document,
    statement.sha256, statement.previous_sha256, statement.signature, statement.public_key, statement.author,
    statement.created_at, statement.restates, statement.reason, later.statement_id AS restated_by
FROM carbon_statement AS statement LEFT JOIN carbon_statement AS later ON later.restates = statement.statement_id"""
_LIST: Final = f"{_SELECT} WHERE statement.site_id = $1 ORDER BY statement.statement_id"
_ONE: Final = f"{_SELECT} WHERE statement.site_id = $1 AND statement.statement_id = $2"
_LAST: Final = "SELECT sha256 FROM carbon_statement WHERE site_id = $1 ORDER BY statement_id DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class StatementRow:
    """One statement; `document` is what was hashed and signed, `restated_by` the one that replaces it."""

    statement_id: int
    site_id: int
    period_from: datetime
    period_to: datetime
    document: bytes
    sha256: str
    previous_sha256: str | None
    signature: bytes
    public_key: str
    author: str
    created_at: datetime
    restates: int | None
    reason: str | None
    restated_by: int | None

    def content(self) -> Statement:
        """Return what the document says.

        Raises:
            ValueError: another version of emsd made it, or it was damaged.
        """
        return read_statement(self.document)


async def last_sha256(pool: Pool, site_id: int) -> str | None:
    """Return the digest of a site's newest statement, which the next one must hold; None before the first.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "read the newest statement") as connection:
        found: str | None = await connection.fetchval(_LAST, site_id)
    return found


async def add_statement(pool: Pool, document: bytes, signature: bytes) -> int:
    """Store a signed statement and return its number.

    Raises:
        LedgerRefused: there is one of this period that it does not restate, one was made meanwhile, or what it restates
            was restated before.
        StoreUnavailable: the database cannot be reached now.
    """
    statement = read_statement(document)
    restates = statement.restates
    async with session(pool, "store a statement") as connection:
        try:
            number = await connection.fetchval(
                _ADD, statement.inputs.site.site_id, statement.inputs.period_from, statement.inputs.period_to,
                document.decode(), sha256_of(document), statement.previous_sha256, signature, statement.public_key,
                statement.author, statement.created_at, None if restates is None else restates.statement_id,
                None if restates is None else restates.reason,
            )  # fmt: skip
        except asyncpg.RaiseError as error:
            raise LedgerRefused(str(error)) from None
        except asyncpg.UniqueViolationError as error:
            raise LedgerRefused(_refusal(error)) from None
    return int(number)


def _refusal(error: asyncpg.UniqueViolationError) -> str:
    if error.constraint_name == "carbon_statement_once":
        return "there is a statement of this period; to replace it, restate it with --restates ID --reason TEXT"
    if error.constraint_name == "carbon_statement_restates_key":
        return "that statement was restated before; restate the newer one"
    return "another statement was made meanwhile; make this one again"


async def list_statements(pool: Pool, site_id: int) -> list[StatementRow]:
    """Return the statements of a site in the order in which they were made.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "list the statements") as connection:
        return [_row(dict(row)) for row in await connection.fetch(_LIST, site_id)]


async def statement_numbered(pool: Pool, site_id: int, number: int) -> StatementRow:
    """Return one statement.

    Raises:
        UnknownEntry: there is none of this number.
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "read a statement") as connection:
        row = await _one(connection, site_id, number)
    if row is None:
        raise UnknownEntry(f"there is no statement {number}; `emsd carbon statement list` shows all")
    return row


async def _one(connection: Session, site_id: int, number: int) -> StatementRow | None:
    row = await connection.fetchrow(_ONE, site_id, number)
    return None if row is None else _row(dict(row))


def _row(fields: Mapping[str, Any]) -> StatementRow:
    return StatementRow(**{**fields, "document": str(fields["document"]).encode()})
