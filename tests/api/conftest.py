"""A small plant in a real database, minutes of energy in it, and the application on top.

The plant, parents in brackets:

    incomer                         area plant                  the grid
    |-- fab-feeder                  area fab                    cleanroom
    |   |-- tool-1                  area bay    stage etch      process_tool (stage inherited from line)
    |   `-- tool-2                  area line   stage etch      process_tool
    |-- compressor-feeder           area utility                compressor
    `-- pv                          area utility                pv_inverter
    compressor-controller           area utility                no energy
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from emsd.api import ApiDependencies, create_app
from emsd.store.pool import Pool, open_pool

REGION = "test-region"
_AREAS = (  # key, parent, stage
    ("plant", None, None),
    ("fab", "plant", None),
    ("line", "fab", "etch"),
    ("bay", "line", "etch"),
    ("utility", "plant", None),
)
_ASSETS = (  # key, area, kind
    ("grid", "plant", "incomer"),
    ("cleanroom", "fab", "cleanroom"),
    ("etcher-1", "bay", "process_tool"),
    ("etcher-2", "line", "process_tool"),
    ("compressor", "utility", "compressor"),
    ("roof", "utility", "pv_inverter"),
)
_METERS = (  # id, key, asset, parent, measures energy
    (1_000_001, "incomer", "grid", None, True),
    (1_000_002, "fab-feeder", "cleanroom", 1_000_001, True),
    (1_000_003, "tool-1", "etcher-1", 1_000_002, True),
    (1_000_004, "tool-2", "etcher-2", 1_000_002, True),
    (1_000_005, "compressor-feeder", "compressor", 1_000_001, True),
    (1_000_006, "pv", "roof", 1_000_001, True),
    (1_000_007, "compressor-controller", "compressor", None, False),
)
METER_ID = {key: meter_id for meter_id, key, *_ in _METERS}

_DAYS_FROM_QUARTERS = """
INSERT INTO interval_1d (day, bucket, meter_id, energy_import_kwh, energy_export_kwh, estimated_import_kwh,
                         estimated_export_kwh, coverage, sample_count)
SELECT local.day, local.day::timestamp AT TIME ZONE site.time_zone, meter_id, sum(energy_import_kwh),
       sum(energy_export_kwh), sum(estimated_import_kwh), sum(estimated_export_kwh),
       sum(coverage) * 900 / extract(epoch FROM (local.day + 1)::timestamp AT TIME ZONE site.time_zone
                                              - local.day::timestamp AT TIME ZONE site.time_zone),
       sum(sample_count)
FROM interval_15m CROSS JOIN site
CROSS JOIN LATERAL (SELECT (bucket AT TIME ZONE site.time_zone)::date AS day) AS local
GROUP BY 1, 2, 3, site.time_zone
"""


@dataclass(frozen=True)
class Factory:
    """The plant in the database of one test."""

    pool: Pool
    url: str

    async def execute(self, statement: str, *arguments: object) -> None:
        async with self.pool.acquire() as connection:
            await connection.execute(statement, *arguments)

    async def set_zone(self, name: str) -> None:
        await self.execute("UPDATE site SET time_zone = $1", name)

    async def add_factor(self, kg_per_kwh: float, valid_from: datetime, valid_to: datetime | None = None) -> None:
        await self.execute(
            "INSERT INTO carbon_factor (region, method, valid_from, valid_to, kg_per_kwh, source)"
            " VALUES ($1, 'location', $2, $3, $4, 'a test')",
            REGION,
            valid_from,
            valid_to,
            kg_per_kwh,
        )

    async def fill(
        self,
        key: str,
        from_: datetime,
        to: datetime,
        *,
        imported: float | None = None,
        exported: float | None = None,
        estimated: float = 0.0,
        coverage: float = 1.0,
    ) -> None:
        """Write minutes [from_, to) with this much energy each [kWh]."""
        await self.execute(
            "INSERT INTO interval_1m (bucket, meter_id, energy_import_kwh, energy_export_kwh, estimated_import_kwh,"
            "                         coverage, sample_count)"
            " SELECT bucket, $1, $4, $5, $6, $7, 60"
            " FROM generate_series($2::timestamptz, $3::timestamptz - interval '1 minute', '1 minute') AS bucket",
            METER_ID[key],
            from_,
            to,
            imported,
            exported,
            estimated,
            coverage,
        )

    async def account(self) -> None:
        """Build quarters from the minutes, and local days from the quarters."""
        await self.execute(
            "INSERT INTO interval_15m (bucket, meter_id, energy_import_kwh, energy_export_kwh, estimated_import_kwh,"
            "                          estimated_export_kwh, coverage, sample_count)"
            " SELECT time_bucket('15 minutes', bucket), meter_id, sum(energy_import_kwh), sum(energy_export_kwh),"
            "        sum(estimated_import_kwh), sum(estimated_export_kwh), sum(coverage) / 15, sum(sample_count)"
            " FROM interval_1m GROUP BY 1, 2"
        )
        await self.execute(_DAYS_FROM_QUARTERS)


@pytest.fixture
async def factory(database_url: str) -> AsyncIterator[Factory]:
    async with open_pool(database_url, max_size=4) as pool:
        async with pool.acquire() as connection, connection.transaction():
            await insert_plant(connection)
        yield Factory(pool, database_url)


async def insert_plant(connection: Any) -> None:
    await connection.execute("INSERT INTO site VALUES (1, 'Test fab', 'Europe/Berlin', 4500, $1, 52.5, 13.4)", REGION)
    for key, parent, stage in _AREAS:
        await connection.execute(
            "INSERT INTO area (site_id, key, name, parent_area_id, stage)"
            " VALUES (1, $1, initcap($1), (SELECT area_id FROM area WHERE key = $2), $3)",
            key,
            parent,
            stage,
        )
    for key, area, kind in _ASSETS:
        await connection.execute(
            "INSERT INTO asset (site_id, area_id, key, name, kind, rated_power_kw)"
            " VALUES (1, (SELECT area_id FROM area WHERE key = $2), $1, initcap($1), $3, 250)",
            key,
            area,
            kind,
        )
    for meter_id, key, asset, parent_id, measures_energy in _METERS:
        await connection.execute(
            "INSERT INTO meter (meter_id, site_id, asset_id, key, name, profile, connection, address, parent_meter_id,"
            "                   measures_energy, poll_interval_s, rated_power_kw, max_gap_s)"
            " VALUES ($1, 1, (SELECT asset_id FROM asset WHERE key = $3), $2, initcap($2), 'generic', 'substation',"
            "         '1', $4, $5, 1, NULL, 300)",
            meter_id,
            key,
            asset,
            parent_id,
            measures_energy,
        )


class OpenClient(Protocol):
    """Return a client of the application at a fixed instant; further arguments are those of ApiDependencies."""

    def __call__(self, now: datetime, **dependencies: Any) -> httpx.AsyncClient: ...


@pytest.fixture
async def open_client(factory: Factory) -> AsyncIterator[OpenClient]:
    clients: list[httpx.AsyncClient] = []

    def open_(now: datetime, **dependencies: Any) -> httpx.AsyncClient:
        given: dict[str, Any] = {"pool": factory.pool, "site_id": 1, "registry": CollectorRegistry(), **dependencies}
        app = create_app(ApiDependencies(now=lambda: now, **given))
        # What the application raises must have become an answer, so nothing may reach the client as an exception.
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://emsd.test"
        )
        clients.append(client)
        return client

    yield open_
    for client in clients:
        await client.aclose()


@asynccontextmanager
async def serve(app: FastAPI) -> AsyncIterator[str]:
    """Serve the application with uvicorn on a free loopback port of this loop; yield its address."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=1))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.serve(), name="uvicorn")
        async with asyncio.timeout(60):
            while not server.started and not running.done():  # noqa: ASYNC110 - uvicorn has no event
                await asyncio.sleep(0.01)
        host, port = server.servers[0].sockets[0].getsockname()
        try:
            yield f"http://{host}:{port}"
        finally:
            server.should_exit = True
