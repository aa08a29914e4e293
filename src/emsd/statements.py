"""Statements of the carbon ledger: made, checked, and held against what the database says today."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from emsd import __version__
from emsd.energy.ledger import Change, Restatement, compute, input_changes, make_statement, recomputes, result_changes
from emsd.energy.ledger.statement import sha256_of
from emsd.energy.windows import local_day_bounds
from emsd.errors import LedgerRefused
from emsd.signing import SigningKey, fingerprint_of, is_signed
from emsd.store.carbon import read_ledger_inputs
from emsd.store.pool import Pool
from emsd.store.statements import StatementRow, add_statement, last_sha256, statement_numbered

__all__ = ["Proof", "Wanted", "changes_between", "changes_since", "check_statement", "create_statement"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a statement is to be of: the local days [first_day, end_day), and what it restates, if anything."""

    site_id: int
    first_day: date
    end_day: date
    author: str
    restates: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """What checking a statement showed; `problems` is empty when all of it holds."""

    fingerprint: str
    problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether digest, signature, chain and recomputation are right."""
        return not self.problems


async def create_statement(pool: Pool, key: SigningKey, wanted: Wanted, *, now: datetime) -> int:
    """Freeze, sign and store the ledger of a period that is over; return the statement's number.

    Raises:
        LedgerRefused: the period is not over, there is a statement of it already, or another was made meanwhile.
        UnknownEntry: there is no statement that this one could restate.
        StoreError: the ledger cannot be read.
        StoreUnavailable: the database cannot be reached now.
    """
    restates = await _restatement(pool, wanted)
    inputs = await read_ledger_inputs(pool, wanted.site_id, wanted.first_day, wanted.end_day, now=now)
    _require_over(inputs.period_to, wanted, now, inputs.site.time_zone)
    document = await asyncio.to_thread(
        make_statement,
        inputs,
        software=f"emsd {__version__}",
        author=wanted.author,
        created_at=now,
        previous_sha256=await last_sha256(pool, wanted.site_id),
        restates=restates,
        public_key=key.public_key,
        key_fingerprint=fingerprint_of(key.public_key),
    )
    return await add_statement(pool, document, key.sign(document))


async def _restatement(pool: Pool, wanted: Wanted) -> Restatement | None:
    if wanted.restates is None:
        return None
    if not wanted.reason:
        raise LedgerRefused("a restatement needs its reason; say why with --reason")
    row = await statement_numbered(pool, wanted.site_id, wanted.restates)
    return Restatement(statement_id=row.statement_id, sha256=row.sha256, reason=wanted.reason)


def _require_over(period_to: datetime, wanted: Wanted, now: datetime, time_zone: str) -> None:
    if period_to < local_day_bounds(wanted.end_day, ZoneInfo(time_zone))[0]:
        raise LedgerRefused(f"the period up to {wanted.end_day} is not over at {now.isoformat()}; state it afterwards")


async def check_statement(row: StatementRow, all_rows: Sequence[StatementRow]) -> Proof:
    """Check one statement of `all_rows`, those of its site in order: digest, signature, chain, recomputation."""
    problems = []
    if sha256_of(row.document) != row.sha256:
        problems.append("its document is not the one that was hashed")
    if not is_signed(row.document, row.signature, row.public_key):
        problems.append("its signature is not that of its document")
    place = [each.statement_id for each in all_rows].index(row.statement_id)
    previous = all_rows[place - 1].sha256 if place else None
    fingerprint = fingerprint_of(row.public_key)
    try:
        content = row.content()
        if content.previous_sha256 != previous or row.previous_sha256 != previous:
            problems.append("it does not hold the digest of the statement before it; one was taken out or put in")
        if (content.public_key, content.key_fingerprint) != (row.public_key, fingerprint):
            problems.append("it was signed with another key than it says")
        if not await asyncio.to_thread(recomputes, row.document):
            problems.append("its frozen inputs do not give its figures again")
    except ValueError as error:
        problems.append(str(error))
    return Proof(fingerprint, tuple(problems))


async def changes_since(pool: Pool, row: StatementRow, *, now: datetime) -> list[Change]:
    """Return what the database says otherwise today than the statement froze: inputs first, then figures.

    Raises:
        StoreError: the ledger cannot be read.
        StoreUnavailable: the database cannot be reached now.
    """
    frozen = row.content()
    zone = ZoneInfo(frozen.inputs.site.time_zone)
    first_day, end_day = (each.astimezone(zone).date() for each in (row.period_from, row.period_to))
    try:
        live = await read_ledger_inputs(pool, row.site_id, first_day, end_day, now=now)
    except LedgerRefused as error:
        return [Change("the ledger of this time", "was read", f"cannot be read any more: {error}")]
    changes = input_changes(frozen.inputs, live)
    if changes:
        changes += result_changes(frozen.results, await asyncio.to_thread(compute, live))
    return changes


def changes_between(before: StatementRow, after: StatementRow) -> list[Change]:
    """Return what differs between two statements: inputs first, then figures.

    Raises:
        ValueError: another version of emsd made one of them.
    """
    one, other = before.content(), after.content()
    return [*input_changes(one.inputs, other.inputs), *result_changes(one.results, other.results)]
