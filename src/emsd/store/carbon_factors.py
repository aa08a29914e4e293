"""Emission factors: which one applies when, and those by the hour, imported as a whole file.

Each import is a version of its own; what was reported stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from emsd.energy.factors import CarbonFactor, CarbonMethod, FactorTimeline, HourlyFactor
from emsd.errors import LedgerRefused, UnknownEntry
from emsd.store.pool import Pool, Session, session

__all__ = [
    "FactorFile",
    "ImportRow",
    "import_hours",
    "list_imports",
    "read_factor_timeline",
    "state_of_hours",
    "withdraw_import",
]

# The same file twice in a row is one import; the lock makes two who import at once take turns.
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('carbon_factor_import'))"
_LATEST: Final = """
SELECT version, file_sha256,
    EXISTS (SELECT FROM carbon_factor_withdrawal AS taken WHERE taken.import_id = carbon_factor_import.import_id)
        AS is_withdrawn
FROM carbon_factor_import WHERE region = $1 AND method = $2 ORDER BY version DESC LIMIT 1"""
_ADD_IMPORT: Final = """
INSERT INTO carbon_factor_import (region, method, version, file_name, file_sha256, author)
VALUES ($1, $2, $3, $4, $5, $6) RETURNING import_id"""
_COLUMNS: Final = ("import_id", "begins_at", "ends_at", "kg_per_kwh", "source")
# Of two imports that know the same stretch of time the earlier one says nothing any more.
_HOURS: Final = """
SELECT DISTINCT ON (begins_at, ends_at) region, method, begins_at AS valid_from, ends_at AS valid_to,
    kg_per_kwh::float8 AS kg_per_kwh, source, version, 'hour' AS resolution
FROM carbon_factor_hour JOIN carbon_factor_import USING (import_id)
WHERE region = $1 AND method = $2
    AND NOT EXISTS (SELECT FROM carbon_factor_withdrawal AS taken WHERE taken.import_id = carbon_factor_hour.import_id)
    AND begins_at < coalesce($4::timestamptz, 'infinity') AND ends_at > coalesce($3::timestamptz, '-infinity')
ORDER BY begins_at, ends_at, version DESC"""
_PERIODS: Final = """
SELECT region, method, valid_from, valid_to, kg_per_kwh, source, version FROM carbon_factor
WHERE region = $1 AND method = $2 AND withdrawn_at IS NULL AND valid_from < coalesce($4::timestamptz, 'infinity')
    AND (valid_to IS NULL OR valid_to > coalesce($3::timestamptz, '-infinity'))"""
_STATE: Final = """
SELECT coalesce(max(carbon_factor_import.import_id), 0) AS newest, count(carbon_factor_withdrawal) AS withdrawn
FROM carbon_factor_import LEFT JOIN carbon_factor_withdrawal USING (import_id) WHERE region = $1 AND method = $2"""
_WITHDRAW: Final = """
INSERT INTO carbon_factor_withdrawal (import_id, author, note)
SELECT import_id, $4, $5 FROM carbon_factor_import WHERE region = $1 AND method = $2 AND version = $3"""
_IMPORTS: Final = """
SELECT carbon_factor_import.*, hours, first_at, last_at,
    EXISTS (SELECT FROM carbon_factor_withdrawal AS taken WHERE taken.import_id = carbon_factor_import.import_id)
        AS is_withdrawn
FROM carbon_factor_import JOIN LATERAL (
    SELECT count(*) AS hours, min(begins_at) AS first_at, max(ends_at) AS last_at
    FROM carbon_factor_hour WHERE carbon_factor_hour.import_id = carbon_factor_import.import_id
) AS content ON true
ORDER BY region, method, version"""


@dataclass(frozen=True, slots=True)
class FactorFile:
    """A file of factors of one region and method, as it was read."""

    region: str
    method: CarbonMethod
    file_name: str
    file_sha256: str
    author: str
    hours: Sequence[HourlyFactor]


@dataclass(frozen=True, slots=True)
class ImportRow:
    """One import; `hours` is how many rows it has, from first_at to last_at; a withdrawn one counts for nothing."""

    import_id: int
    region: str
    method: CarbonMethod
    version: int
    file_name: str
    file_sha256: str
    author: str
    recorded_at: datetime
    hours: int
    first_at: datetime
    last_at: datetime
    is_withdrawn: bool


async def import_hours(pool: Pool, file: FactorFile) -> tuple[int, bool]:
    """Store a file as the next version of its region and method; return the version, and whether it is new.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "import carbon factors") as connection, connection.transaction():
        await connection.execute(_LOCK)
        latest = await connection.fetchrow(_LATEST, file.region, file.method)
        if latest is not None and latest["file_sha256"] == file.file_sha256 and not latest["is_withdrawn"]:
            return int(latest["version"]), False
        version = 1 if latest is None else int(latest["version"]) + 1
        import_id = await connection.fetchval(
            _ADD_IMPORT, file.region, file.method, version, file.file_name, file.file_sha256, file.author
        )
        await connection.copy_records_to_table(
            "carbon_factor_hour",
            columns=_COLUMNS,
            records=[(import_id, each.begins_at, each.ends_at, each.kg_per_kwh, each.source) for each in file.hours],
        )
    return version, True


async def list_imports(pool: Pool) -> list[ImportRow]:
    """Return every import there is.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "list the imports of carbon factors") as connection:
        return [ImportRow(**dict(row)) for row in await connection.fetch(_IMPORTS)]


async def withdraw_import(
    pool: Pool, region: str, method: CarbonMethod, version: int, *, author: str, note: str
) -> None:
    """Let the hours of an import count for nothing from now on; what was stated with them stays.

    Raises:
        UnknownEntry: there is no such import.
        LedgerRefused: it was withdrawn before.
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "withdraw carbon factors") as connection:
        try:
            done = await connection.execute(_WITHDRAW, region, method, version, author, note)
        except asyncpg.UniqueViolationError:
            raise LedgerRefused(f"version {version} of {region} ({method}) was withdrawn before") from None
    if done == "INSERT 0 0":
        raise UnknownEntry(f"{region} ({method}) has no version {version}; `emsd carbon factors list` shows all")


async def read_factor_timeline(
    connection: Session, region: str, method: CarbonMethod, from_: datetime | None = None, to: datetime | None = None
) -> FactorTimeline:
    """Return which factor of a region and method applies when, those of the hour included; of [from_, to) where given.

    Whoever multiplies energy with a factor asks here: the ledger, rolling windows, sums, footprints, explanations.
    """
    asked = region, method, from_, to
    rows = [*await connection.fetch(_PERIODS, *asked), *await connection.fetch(_HOURS, *asked)]
    return await asyncio.to_thread(lambda: FactorTimeline(CarbonFactor(**dict(row)) for row in rows))


async def state_of_hours(connection: Session, region: str, method: CarbonMethod) -> tuple[int, int]:
    """Return what changes whenever the factors by the hour do: the newest import, and how many were withdrawn."""
    row = await connection.fetchrow(_STATE, region, method)
    return (0, 0) if row is None else (row["newest"], row["withdrawn"])
