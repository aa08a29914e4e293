"""What the tests of alarms stand on: rules, a database with meters, a webhook, and a network that can break."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from emsd.alarms.binding import BoundRule
from emsd.alarms.rules import Rule, Threshold
from emsd.plant.models import Priority
from emsd.store.pool import Pool, open_pool

METER = 1_000_001
OTHER_METER = 1_000_002


class MakeRule(Protocol):
    """Build a bound rule: active_power_kw > 300 kW with a deadband of 15 kW, unless told otherwise."""

    def __call__(
        self,
        rule: Rule = ...,
        *,
        rule_key: str = ...,
        meter_id: int = ...,
        targets: tuple[str, ...] = ...,
        priority: Priority = ...,
    ) -> BoundRule: ...


@pytest.fixture
def make_rule() -> MakeRule:
    def make(
        rule: Rule = Threshold("active_power_kw", above=300.0, deadband=15.0),  # noqa: B008 - frozen
        *,
        rule_key: str = "power-high",
        meter_id: int = METER,
        targets: tuple[str, ...] = ("hook",),
        priority: Priority = Priority.HIGH,
    ) -> BoundRule:
        return BoundRule(
            meter_id=meter_id,
            rule_key=rule_key,
            name="Power too high",
            priority=priority,
            rule=rule,
            targets=targets,
            advice="Look at the load.",
            site_name="Suzhou 1",
            zone=ZoneInfo("Asia/Shanghai"),
            asset_name="Cleanroom",
            meter_name="Cleanroom feeder",
        )

    return make


@pytest.fixture
async def plant_url(database_url: str) -> str:
    """A database with two meters."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            f"""
            INSERT INTO site VALUES (1, 'Suzhou 1', 'Asia/Shanghai', NULL, 'CN', NULL, NULL);
            INSERT INTO area (site_id, key, name) VALUES (1, 'hall', 'Hall');
            INSERT INTO asset (site_id, area_id, key, name, kind) SELECT 1, area_id, 'a', 'A', 'feeder' FROM area;
            INSERT INTO meter (meter_id, site_id, asset_id, key, name, profile, connection, address, measures_energy,
                               poll_interval_s, max_gap_s)
            SELECT meter_id, 1, asset_id, 'meter-' || meter_id, 'Meter', 'p', 'c', '1', true, 1, 300
            FROM asset, unnest(ARRAY[{METER}, {OTHER_METER}]) AS meter_id
            """
        )
    finally:
        await connection.close()
    return database_url


@pytest.fixture
async def pool(plant_url: str) -> AsyncIterator[Pool]:
    async with open_pool(plant_url) as pool:
        yield pool


async def until(condition: Callable[[], bool | Awaitable[bool]], *, within_s: float = 60.0) -> None:
    """Wait until `condition` holds; fail when it does not within a bound that no healthy run comes near."""
    async with asyncio.timeout(within_s):
        while True:
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.01)


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Awaitable[None]]:
    return until


class Webhook:
    """An HTTP server that keeps what it is sent; `answer` says how it treats the next request."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.requests = 0
        self.answer: int | None = 200
        """A status; None: read the request and hang up without an answer."""
        self.gate = threading.Event()
        """Requests are taken at once and answered when it is set."""
        self.gate.set()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = hook.answer
                hook.requests += 1
                if answer is None or 200 <= answer < 300:
                    hook.received.append(message)
                hook.gate.wait(60)
                if answer is not None:
                    with suppress(OSError):
                        self.send_response(answer)
                        self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
                """Keep the test's output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="webhook", daemon=True)
        self._thread.start()

    def titles(self) -> list[str]:
        return [str(message["title"]) for message in self.received]

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    try:
        yield hook
    finally:
        hook.close()


@pytest.fixture
def second_webhook() -> Iterator[Webhook]:
    hook = Webhook()
    try:
        yield hook
    finally:
        hook.close()


@dataclass
class Network:
    """A way to the database that can be cut and mended."""

    url: str
    up: bool = True
    sockets: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        self.up = False
        for writer in list(self.sockets):
            writer.transport.abort()

    def mend(self) -> None:
        self.up = True


@pytest.fixture
async def network(plant_url: str) -> AsyncIterator[Network]:
    parts = urlsplit(plant_url)
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not way.up:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(parts.hostname, parts.port)
        way.sockets |= {writer, back}
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(pump(source, sink), name="network-pump")
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    who = f"{parts.username}:{parts.password}@" if parts.password else f"{parts.username}@" if parts.username else ""
    way = Network(parts._replace(netloc=f"{who}127.0.0.1:{port}").geturl())
    try:
        yield way
    finally:
        way.cut()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
