"""A service that is asked to stop does, whatever its database does then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from emsd.plant.loader import load_plant
from emsd.servers import PrivateMosquitto
from emsd.service import Service
from emsd.settings import Settings
from simulator import Simulator
from tests.e2e.plants import at_broker, free_port, served

EXAMPLE = Path(__file__).parents[2] / "config" / "plant.example.yaml"
PROMISED_S = 10.0
"""How long a stop may take."""


class Network:
    """The way to a server, which may swallow everything without a word, as a dead network does."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._carries = asyncio.Event()
        self._carries.set()

    def die(self) -> None:
        self._carries.clear()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """Yield the port by which the server is reached."""
        listener = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            self._carries.set()
            listener.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(*self._server)
        await asyncio.gather(self._carry(reader, to_server), self._carry(from_server, writer))

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                await self._carries.wait()
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()


async def test_it_stops_within_ten_seconds_behind_a_network_that_swallows_all(
    mosquitto: PrivateMosquitto, database_url: str
) -> None:
    example = at_broker(load_plant(EXAMPLE, environ={}), mosquitto.port)
    parts = urlsplit(database_url)
    assert parts.hostname is not None
    assert parts.port is not None
    network = Network(parts.hostname, parts.port)
    async with Simulator(example.plant, example.profiles, free_ports=True) as simulator, network.open() as way:
        url = parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{way}")).geturl()
        settings = Settings(api_port=free_port(), health_interval_s=1.0, accounting_interval_s=0.5, spool_folder="")
        service = Service(settings, served(example, simulator), url)
        task = asyncio.create_task(service.run(), name="service-under-test")
        async with (
            asyncio.timeout(60),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.api_port}", timeout=30.0) as client,
        ):
            await service.started.wait()
            while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - its parts are other tasks
                await asyncio.sleep(0.05)
            network.die()
            # All that asks the database now waits for its answer; one such question has been given up.
            while "database" not in (await client.get("/readyz")).json().get("not_ready", {}):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        task.cancel()
        _, still_running = await asyncio.wait({task}, timeout=PROMISED_S)
        assert not still_running
        assert task.cancelled()
