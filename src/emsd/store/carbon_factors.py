"""Emission factors by the hour: imported as a whole file, each import a version of its own; what was reported stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from emsd.energy.carbon import CarbonFactor, CarbonMethod
from emsd.energy.ledger.slots import HourlyFactor
from emsd.store.pool import Pool, Session, session

__all__ = ["FactorFile", "ImportRow", "import_hours", "list_imports", "read_factors", "read_hours"]

# The same file twice in a row is one import; the lock makes two who import at once take turns.
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('carbon_factor_import'))"
_LATEST: Final = """
SELECT version, file_sha256 FROM carbon_factor_import WHERE region = $1 AND method = $2 ORDER BY version DESC LIMIT 1"""
_ADD_IMPORT: Final = """
INSERT INTO carbon_factor_import (region, method, version, file_name, file_sha256, author)
VALUES ($1, $2, $3, $4, $5, $6) RETURNING import_id"""
_COLUMNS: Final = ("import_id", "begins_at", "ends_at", "kg_per_kwh", "source")
_HOURS: Final = """
SELECT begins_at, ends_at, kg_per_kwh, version, source
FROM carbon_factor_hour JOIN carbon_factor_import USING (import_id)
WHERE region = $1 AND method = $2 AND begins_at < $4 AND ends_at > $3
ORDER BY version, begins_at"""
_FACTORS: Final = """
SELECT region, method, valid_from, valid_to, kg_per_kwh, source, version FROM carbon_factor
WHERE region = $1 AND method = $2 AND withdrawn_at IS NULL AND valid_from < $4 AND (valid_to IS NULL OR valid_to > $3)
ORDER BY valid_from, version"""
_IMPORTS: Final = """
SELECT import_id, region, method, version, file_name, file_sha256, author, recorded_at, hours, first_at, last_at
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
    """One import; `hours` is how many rows it has, from first_at to last_at."""

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


async def import_hours(pool: Pool, file: FactorFile) -> tuple[int, bool]:
    """Store a file as the next version of its region and method; return the version, and whether it is new.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "import carbon factors") as connection, connection.transaction():
        await connection.execute(_LOCK)
        latest = await connection.fetchrow(_LATEST, file.region, file.method)
        if latest is not None and latest["file_sha256"] == file.file_sha256:
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


async def read_hours(
    connection: Session, region: str, method: CarbonMethod, from_: datetime, to: datetime
) -> list[HourlyFactor]:
    """Return the hourly factors, of every version, that touch [from_, to)."""
    return [HourlyFactor(**dict(row)) for row in await connection.fetch(_HOURS, region, method, from_, to)]


async def read_factors(
    connection: Session, region: str, method: CarbonMethod, from_: datetime, to: datetime
) -> list[CarbonFactor]:
    """Return the factors by period in force, of every version, that touch [from_, to)."""
    return [CarbonFactor(**dict(row)) for row in await connection.fetch(_FACTORS, region, method, from_, to)]
