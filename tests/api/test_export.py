"""Readings, intervals and events as files: what arrives is what is stored, and a part is never taken for the whole."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import numpy as np
import pyarrow.ipc
import pyarrow.parquet
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from emsd.api import ApiDependencies, create_app
from emsd.api.tables import TableResponse
from emsd.export import Column, ColumnKind, TableFormat, TableSchema
from emsd.store.pool import open_pool
from tests.api.conftest import insert_plant, serve
from tests.conftest import wait_for

if TYPE_CHECKING:
    from tests.api.conftest import Factory, OpenClient
    from tests.conftest import PostgresServer

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 10, tzinfo=UTC)
READINGS = "/api/v1/export/readings"
QUANTITIES: dict[str, Any] = {"quantity": ["active_power_kw", "energy_import_kwh"]}
PARQUET = "application/vnd.apache.parquet"

ROWS = 120_000
"""Of the long table, two meters over 17 hours: 8 MB as CSV, more than all buffers on the way hold."""
RECEIVE_BUFFER = (socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
"""Or the kernel takes megabytes from the server before the client reads anything."""


async def fill_readings(factory: Factory) -> None:
    """Three meters around midnight; values missing with and without a flag."""
    rows = [
        (MIDNIGHT - timedelta(seconds=1), 1_000_001, 0, 412.3, 1000.0),
        (MIDNIGHT, 1_000_001, 0, None, 1000.25),
        (MIDNIGHT + timedelta(microseconds=1), 1_000_001, 1, None, None),
        (MIDNIGHT + timedelta(seconds=2), 1_000_001, 0, None, None),  # another quantity's row: it says nothing here
        (MIDNIGHT - timedelta(hours=1), 1_000_003, 0, -0.5, None),
        (MIDNIGHT + timedelta(hours=1), 1_000_003, 0, 1e6 / 3, 0.1 + 0.2),
        (MIDNIGHT, 1_000_007, 0, 7.0, None),
    ]
    for row in rows:
        await factory.execute(
            "INSERT INTO reading (time, meter_id, quality, active_power_kw, energy_import_kwh, frequency_hz)"
            " VALUES ($1, $2, $3, $4, $5, 50)",
            *row,
        )


async def stored(factory: Factory, *meters: str) -> list[tuple[Any, ...]]:
    return [
        tuple(row)
        for row in await factory.pool.fetch(
            "SELECT time, key, quality, active_power_kw, energy_import_kwh FROM reading JOIN meter USING (meter_id)"
            " WHERE key = ANY($1) AND (quality <> 0 OR coalesce(active_power_kw, energy_import_kwh) IS NOT NULL)"
            " ORDER BY time::date, meter_id, time",
            list(meters),
        )
    ]


async def test_readings_arrive_as_they_are_stored_in_every_format(factory: Factory, open_client: OpenClient) -> None:
    await fill_readings(factory)
    client = open_client(NOW)
    span = {"from": "2026-03-09T12:00:00Z", "to": "2026-03-10T12:00:00Z"}
    expected = await stored(factory, "incomer", "tool-1", "compressor-controller")
    assert len(expected) == 6

    as_csv = await client.get(READINGS, params=QUANTITIES | span)
    assert as_csv.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    name = "emsd-readings-20260309T120000Z-20260310T120000Z.csv"
    assert as_csv.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert "content-length" not in as_csv.headers
    header, *rows = csv.reader(io.StringIO(as_csv.text, newline=""), strict=True)
    assert header == ["time", "meter", "quality", "active_power_kw", "energy_import_kwh"]
    assert [(datetime.fromisoformat(row[0]), row[1], int(row[2])) for row in rows] == [row[:3] for row in expected]
    assert [row[4] for row in rows] == ["" if row[4] is None else repr(row[4]) for row in expected]
    assert [row[3] for row in rows] == ["412.3", "-0.5", "", "", "333333.34", "7.0"]

    as_parquet = await client.get(READINGS, params=QUANTITIES | span | {"format": "parquet"})
    assert as_parquet.headers["content-type"] == PARQUET
    assert as_parquet.headers["content-disposition"].endswith('.parquet"')
    table = pyarrow.parquet.read_table(io.BytesIO(as_parquet.content))
    assert [tuple(row.values()) for row in table.to_pylist()] == expected
    assert table.schema.field("active_power_kw").metadata[b"emsd.unit"] == b"kW"
    assert table.schema.metadata[b"emsd.site"] == b"Test fab"
    assert table.schema.metadata[b"emsd.time_zone"] == b"Europe/Berlin"

    arrow = await client.get(
        READINGS, params=QUANTITIES | span, headers={"Accept": "application/vnd.apache.arrow.stream, */*;q=0.1"}
    )
    assert pyarrow.ipc.open_stream(arrow.content).read_all().to_pylist() == table.to_pylist()


async def test_a_table_is_what_the_databases_own_copy_says_row_by_row(
    factory: Factory, open_client: OpenClient
) -> None:
    await fill_readings(factory)
    await factory.fill("incomer", MIDNIGHT, MIDNIGHT + timedelta(hours=3), imported=0.1, estimated=0.02, coverage=0.9)
    await factory.fill("pv", MIDNIGHT, MIDNIGHT + timedelta(hours=3), exported=1 / 3)
    await factory.account()
    client = open_client(NOW)
    span = {"from": "2026-03-09T12:00:00Z", "to": "2026-03-10T12:00:00Z"}
    for path, asked, query in (
        (
            "readings",
            QUANTITIES | {"meter": ["incomer", "tool-1"]},
            (
                "SELECT time, key, quality, active_power_kw, energy_import_kwh FROM reading JOIN meter USING (meter_id)"
                " WHERE key IN ('incomer', 'tool-1') AND frequency_hz = 50 AND"
                " (quality <> 0 OR active_power_kw IS NOT NULL OR energy_import_kwh IS NOT NULL)"
                " ORDER BY time::date, meter_id, time"
            ),
        ),
        (
            "intervals",
            {},
            (
                "SELECT bucket, key, energy_import_kwh, energy_export_kwh, estimated_import_kwh, estimated_export_kwh,"
                " power_min_kw, power_avg_kw, power_max_kw, coverage, sample_count, flags, computed_at"
                " FROM interval_15m JOIN meter USING (meter_id) ORDER BY meter_id, bucket"
            ),
        ),
    ):
        answer = await client.get(f"/api/v1/export/{path}", params=asked | span)
        header, *rows = csv.reader(io.StringIO(answer.text, newline=""), strict=True)
        copy = io.BytesIO()
        async with factory.pool.acquire() as connection:
            await connection.execute("SET timezone = 'UTC'")
            await connection.copy_from_query(query, output=copy, format="csv")
        expected = list(csv.reader(io.StringIO(copy.getvalue().decode(), newline="")))
        assert len(rows) == len(expected) > 4
        for row, copied in zip(rows, expected, strict=True):
            assert [_meant(cell) for cell in row] == [_meant(cell) for cell in copied], header
        for table_format in ("parquet", "arrow"):
            answer = await client.get(f"/api/v1/export/{path}", params=asked | span | {"format": table_format})
            file = io.BytesIO(answer.content)
            table = (
                pyarrow.parquet.read_table(file)
                if table_format == "parquet"
                else pyarrow.ipc.open_stream(file).read_all()
            )
            assert [[_meant(_said(cell)) for cell in row.values()] for row in table.to_pylist()] == [
                [_meant(cell) for cell in copied] for copied in expected
            ]
            units = {field.name: (field.metadata or {}).get(b"emsd.unit") for field in table.schema}
            assert {units[name] for name in header if name.endswith("_kwh")} == {b"kWh"}
            assert {units[name] for name in header if name.endswith("_kw")} == {b"kW"}


def _said(cell: Any) -> str:
    """A value of a table as text; a float of 32 bits in the fewest digits that say it."""
    if isinstance(cell, float) and float(np.float32(cell)) == cell:
        return str(np.float32(cell))
    return "" if cell is None else cell.isoformat() if isinstance(cell, datetime) else str(cell)


def _meant(cell: str) -> object:
    """What a cell means: nothing, a number, an instant, or a text."""
    for read in (float, datetime.fromisoformat):
        with contextlib.suppress(ValueError):
            return read(cell)
    return cell or None


async def test_a_client_that_takes_almost_nothing_loses_its_export() -> None:
    schema = TableSchema("numbers", (Column("n", ColumnKind.INTEGER),))

    @asynccontextmanager
    async def open_rows() -> AsyncIterator[AsyncIterator[Any]]:
        async def numbers() -> AsyncIterator[Any]:
            for number in range(1000):
                yield [(number,)]

        yield numbers()

    async def pieces_taken(pause_s: float) -> tuple[int, bool]:
        bodies: list[Any] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                await asyncio.sleep(pause_s)  # what a client takes for a piece
                bodies.append(message)

        async def receive() -> Any:
            await asyncio.Event().wait()

        response = TableResponse(TableFormat.CSV, schema, open_rows, name="numbers", stall_s=0.4)
        await response({"type": "http", "path": "/numbers"}, receive, send)
        return len(bodies), not bodies[-1]["more_body"]

    assert await pieces_taken(0.0) == (1001, True)
    # Each piece arrives in time, but they are few bytes a second: the database's snapshot is not held for hours.
    taken, whole = await pieces_taken(0.1)
    assert taken <= 4
    assert not whole


async def test_only_the_meters_and_the_range_asked_for_come(factory: Factory, open_client: OpenClient) -> None:
    await fill_readings(factory)
    asked = {"quantity": "active_power_kw", "meter": ["tool-1", "pv"], "from": "2026-03-10T00:00:00Z"}
    rows = list(csv.DictReader(io.StringIO((await open_client(NOW).get(READINGS, params=asked)).text)))
    assert [(row["meter"], row["active_power_kw"]) for row in rows] == [("tool-1", "333333.34")]


@pytest.mark.parametrize("tier", ["1m", "15m", "1d"])
async def test_intervals_of_every_tier_equal_the_table(factory: Factory, open_client: OpenClient, tier: str) -> None:
    begin = datetime(2026, 3, 27, 20, tzinfo=UTC)
    end = begin + timedelta(days=3)  # over the change of clocks in Berlin
    await factory.fill("incomer", begin, end, imported=0.1, exported=0.05, coverage=0.5)
    await factory.fill("pv", begin, end, exported=0.2)
    await factory.account()
    asked = {"tier": tier, "from": begin.isoformat(), "to": end.isoformat(), "format": "parquet"}
    answer = await open_client(end).get("/api/v1/export/intervals", params=asked)
    table = pyarrow.parquet.read_table(io.BytesIO(answer.content))
    day = "day, " if tier == "1d" else ""
    expected = await factory.pool.fetch(
        f"SELECT bucket, key, {day}energy_import_kwh, energy_export_kwh, estimated_import_kwh, estimated_export_kwh,"
        " power_min_kw, power_avg_kw, power_max_kw, coverage, sample_count, flags, computed_at"
        f" FROM interval_{tier} JOIN meter USING (meter_id) WHERE bucket >= $1 AND bucket < $2",
        begin,
        end,
    )
    found = [tuple(row.values()) for row in table.to_pylist()]
    assert sorted(found, key=lambda row: row[:2]) == sorted((tuple(row) for row in expected), key=lambda row: row[:2])
    assert len(found) == {"1m": 2 * 3 * 1440, "15m": 2 * 3 * 96, "1d": 2 * 3}[tier]
    assert table.schema.metadata[b"emsd.tier"] == tier.encode()
    # PV counts no import here: unknown stays NULL.
    assert table.column("energy_import_kwh").null_count == len(found) // 2


async def test_events_come_with_their_particulars(factory: Factory, open_client: OpenClient) -> None:
    await factory.execute(
        "INSERT INTO meter_event (meter_id, occurred_at, kind, detail, author, note)"
        " VALUES (1000003, $1, 'swap', $2, 'l.wei', 'a \"new\" one, sealed')",
        NOW - timedelta(hours=2),
        '{"final_kwh": 12.5}',
    )
    answer = await open_client(NOW).get("/api/v1/export/events")
    (event,) = csv.DictReader(io.StringIO(answer.text, newline=""))
    assert (event["meter"], event["kind"], event["author"]) == ("tool-1", "swap", "l.wei")
    assert event["detail"] == '{"final_kwh": 12.5}'
    assert event["note"] == 'a "new" one, sealed'


WRONG: list[tuple[str, dict[str, str], int, str]] = [
    ("readings", {"quantity": "active_power"}, 404, "did you mean active_power_kw"),
    ("readings", {"quantity": "active_power_kw", "meter": "tool-9"}, 404, "did you mean tool-"),
    ("readings", {}, 422, "query.quantity"),
    ("intervals", {"format": "xlsx"}, 422, "'csv', 'parquet' or 'arrow'"),
    ("intervals", {"from": "2011-01-01T00:00:00Z"}, 422, "ten years"),
    ("intervals", {"quantity": "active_power_kw"}, 422, "no parameter of this operation"),
]


async def test_what_cannot_be_exported_names_its_cure(open_client: OpenClient) -> None:
    client = open_client(NOW)
    for path, asked, status, said in WRONG:
        answer = await client.get(f"/api/v1/export/{path}", params=asked)
        assert answer.status_code == status, asked
        assert answer.headers["content-type"] == "application/problem+json"
        assert said in answer.json()["detail"], asked


async def test_a_database_that_is_away_is_an_ordinary_answer(database_url: str) -> None:
    async with open_pool(database_url) as pool:
        async with pool.acquire() as connection:
            await insert_plant(connection)
        app = create_app(ApiDependencies(pool=pool, site_id=1, registry=CollectorRegistry(), now=lambda: NOW))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://emsd.test") as client:
            assert (await client.get("/api/v1/plant")).status_code == 200  # the configuration is known from now on
            await pool.close()
            answer = await client.get("/api/v1/export/intervals")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert "retry-after" in answer.headers


# --- a long table, over a real socket ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_table(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    name = f"emsd_test_{uuid.uuid4().hex[:12]}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE {migrated_template} STRATEGY file_copy")

    async def fill() -> None:
        connection = await asyncpg.connect(postgres.url_of(name))
        await insert_plant(connection)
        await connection.execute(
            "INSERT INTO reading (time, meter_id, active_power_kw, energy_import_kwh)"
            " SELECT $1::timestamptz + n * interval '1 s', meter_id, n % 997, 1000 + n / 3600.0"
            " FROM generate_series(0, $2::integer / 2 - 1) AS n, unnest(ARRAY[1000001, 1000003]) AS meter_id",
            MIDNIGHT,
            ROWS,
        )
        await connection.close()

    try:
        wait_for(fill())
        yield postgres.url_of(name)
    finally:
        postgres.drop(name)


@asynccontextmanager
async def served(database_url: str, **dependencies: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with open_pool(database_url, application_name="emsd-served", max_size=4) as pool:
        given = ApiDependencies(pool=pool, site_id=1, registry=CollectorRegistry(), **dependencies)
        transport = httpx.AsyncHTTPTransport(socket_options=[RECEIVE_BUFFER])
        async with (
            serve(create_app(given)) as url,
            httpx.AsyncClient(base_url=url, timeout=30, transport=transport) as client,
        ):
            yield client


ALL = QUANTITIES | {"from": MIDNIGHT.isoformat(), "to": (MIDNIGHT + timedelta(days=2)).isoformat()}


@asynccontextmanager
async def begun(client: httpx.AsyncClient) -> AsyncIterator[AsyncIterator[bytes]]:
    """An export of which the first bytes have arrived."""
    async with client.stream("GET", READINGS, params=ALL) as answer:
        assert answer.status_code == 200
        pieces = answer.aiter_raw()
        await anext(pieces)
        yield pieces


async def until(condition: Callable[[], Awaitable[bool]], *, within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 - another process is watched
            await asyncio.sleep(0.02)


async def exporting(watcher: asyncpg.Connection[Any]) -> list[int]:
    """Processes of the database that hold an export's transaction."""
    return [
        row["pid"]
        for row in await watcher.fetch(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'emsd-served' AND xact_start IS NOT NULL"
            " AND datname = current_database()"
        )
    ]


@pytest.fixture
async def watcher(long_table: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(long_table)
    yield connection
    await connection.close()


async def test_a_client_that_goes_away_ends_the_query(long_table: str, watcher: asyncpg.Connection[Any]) -> None:
    async def ended() -> bool:
        return await exporting(watcher) == []

    with capture_logs() as logs:
        async with served(long_table) as client:
            async with begun(client):
                assert await exporting(watcher) != []
            await until(ended)
    (left,) = (each for each in logs if each["event"] == "export_left")
    assert left["sent_bytes"] < 60 * ROWS, "it was not read to its end"


async def test_what_fails_on_the_way_never_looks_whole(long_table: str, watcher: asyncpg.Connection[Any]) -> None:
    with capture_logs() as logs:
        async with served(long_table) as client, begun(client) as pieces:
            (process,) = await exporting(watcher)
            await watcher.execute("SELECT pg_terminate_backend($1)", process)
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
                async for _ in pieces:
                    pass
    events = [each["event"] for each in logs]
    assert "export_aborted" in events
    assert "api_request_failed" not in events


async def test_no_more_exports_run_at_once_than_may(long_table: str) -> None:
    asked = QUANTITIES | {"from": MIDNIGHT.isoformat(), "to": (MIDNIGHT + timedelta(seconds=9)).isoformat()}
    async with served(long_table, exports_at_once=1) as client:
        async with begun(client):
            refused = await client.get(READINGS, params=asked)
            assert refused.status_code == 503
            assert refused.json()["type"] == "urn:emsd:problem:exports-busy"
            assert int(refused.headers["retry-after"]) > 0
            # Whoever asks for figures is not held up.
            assert (await client.get("/api/v1/energy/sums")).status_code == 200

        async def free_again() -> bool:
            return (await client.get(READINGS, params=asked)).status_code == 200

        await until(free_again)


async def test_an_export_sees_the_database_at_one_instant(long_table: str, watcher: asyncpg.Connection[Any]) -> None:
    late = MIDNIGHT + timedelta(days=1, hours=20)  # after all others
    async with served(long_table) as client:
        async with client.stream("GET", READINGS, params=ALL) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            await watcher.execute("INSERT INTO reading (time, meter_id, active_power_kw) VALUES ($1, 1000003, 1)", late)
            count = 0
            last = ""
            async for line in lines:
                count, last = count + 1, line
        await watcher.execute("DELETE FROM reading WHERE time = $1", late)
    assert count == ROWS
    assert "tool-1" in last


# Memory: a first, short export brings in whatever is loaded once; the long one may then add little.
MEMORY = """
import asyncio, sys
from datetime import datetime, timedelta
from pathlib import Path
from emsd.export import TableFormat, encode, rows_at_once
from emsd.export.tables import readings_table
from emsd.quantities import BY_NAME
from emsd.store.export import open_readings
from emsd.store.plant_view import read_plant_view
from emsd.store.pool import open_pool

url, begin, table_format = sys.argv[1], datetime.fromisoformat(sys.argv[2]), TableFormat(sys.argv[3])
quantities = [BY_NAME[name] for name in ("active_power_kw", "energy_import_kwh")]

def peak_mb():  # of this program; getrusage would begin with the peak of the process that started it
    (line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

async def run():
    async with open_pool(url, max_size=1) as pool:
        plant = await read_plant_view(pool, 1)
        meters = {each.meter_id: each.key for each in plant.meters.values()}
        async def export(length):
            schema = readings_table(plant, list(meters.values()), quantities, begin, begin + length)
            size = 0
            async with open_readings(
                pool, meters, quantities, begin, begin + length, page_rows=rows_at_once(schema)
            ) as rows:
                async for piece in encode(table_format, schema, rows):
                    size += len(piece)
            return size
        await export(timedelta(minutes=5))
        before = peak_mb()
        size = await export(timedelta(days=3))
        print(peak_mb() - before, size)

asyncio.run(run())
"""


@pytest.mark.parametrize(("table_format", "most_mb"), [("csv", 6), ("parquet", 20), ("arrow", 6)])
def test_memory_does_not_grow_with_the_length_of_a_table(long_table: str, table_format: str, most_mb: float) -> None:
    command = [sys.executable, "-c", MEMORY, long_table, MIDNIGHT.isoformat(), table_format]
    # One arena: what threads leave behind in theirs is the allocator's affair.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    grown_mb, size = map(float, done.stdout.split())
    assert size > (400_000 if table_format == "parquet" else 3_500_000)
    # As rows in memory the table takes more than 40 MB.
    assert grown_mb < most_mb
