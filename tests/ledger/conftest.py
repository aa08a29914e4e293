"""A small plant in a real database, a year of quarter hours on demand, and a signing key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from emsd.signing import SigningKey, create_key
from emsd.store.pool import Pool, open_pool
from tests.api.conftest import METER_ID, REGION, insert_plant

BERLIN_2026 = datetime(2025, 12, 31, 23, tzinfo=UTC), datetime(2026, 12, 31, 23, tzinfo=UTC)
NOW = datetime(2027, 1, 15, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Plant:
    """The plant of the API's tests, in Europe/Berlin."""

    pool: Pool
    url: str

    async def fill(
        self, key: str, from_: datetime, to: datetime, *, import_kwh: float | None = None,
        export_kwh: float | None = None, coverage: float = 1.0,
    ) -> None:  # fmt: skip
        """Write quarter hours [from_, to) with so much energy in all, evenly."""
        quarters = (to - from_).total_seconds() / 900
        await self.pool.execute(
            "INSERT INTO interval_15m (bucket, meter_id, energy_import_kwh, energy_export_kwh, coverage, sample_count)"
            " SELECT bucket, $1, $4::float8, $5::float8, $6, 900"
            " FROM generate_series($2::timestamptz, $3::timestamptz - interval '15 minutes', '15 minutes') AS bucket",
            METER_ID[key],
            from_,
            to,
            None if import_kwh is None else import_kwh / quarters,
            None if export_kwh is None else export_kwh / quarters,
            coverage,
        )

    async def factor(
        self, kg_per_kwh: float, method: str = "location", *, version: int = 1, source: str = "the ministry, 2026"
    ) -> None:
        await self.pool.execute(
            "INSERT INTO carbon_factor (region, method, valid_from, valid_to, kg_per_kwh, source, version)"
            " VALUES ($1, $2, $3, NULL, $4, $5, $6)",
            REGION, method, BERLIN_2026[0], kg_per_kwh, source, version,
        )  # fmt: skip


@pytest.fixture
async def plant(database_url: str) -> AsyncIterator[Plant]:
    async with open_pool(database_url, max_size=4) as pool:
        async with pool.acquire() as connection, connection.transaction():
            await insert_plant(connection)
        yield Plant(pool, database_url)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return create_key(tmp_path / "key.pem")
