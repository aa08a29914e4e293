"""kill -9 at random moments, the database away for some of them: at the end every reading is accounted for exactly."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Final

import aiomqtt
import asyncpg
import pytest

from emsd.plant.models import Meter, Plant
from emsd.plant.mqtt_connection import MqttConnection
from emsd.plant.profile import ENERGY_COUNTERS, Profile
from emsd.servers import PrivateMosquitto, PrivatePostgres
from simulator import Simulator
from simulator.fleet import fleet, fleet_profile
from tests.e2e.plants import written

KILLS: Final = 22
AWAY: Final = range(8, 13)
"""Kills during which the database is away."""
INTERVAL_S: Final = 1.0
PUBLISH_EVERY_S: Final = 0.1
WITHIN_S: Final = 90.0
BASE: Final = datetime(2026, 3, 28, 0, 0, tzinfo=UTC)

# A tick is due at the phase of its meter in every interval, and its reading comes before the next one is.
_POLLED: Final = """
SELECT meter_id, count(*) AS rows, count(DISTINCT tick) AS ticks, max(tick) - min(tick) + 1 AS expected
FROM (SELECT meter_id, floor((extract(epoch FROM time) - phase_s) / $1 + 0.02)::bigint AS tick
      FROM reading JOIN unnest($2::integer[], $3::float8[]) AS polled (meter_id, phase_s) USING (meter_id)) AS each
GROUP BY meter_id"""


def phase_s(meter_key: str) -> float:
    """Return how far after the beginning of an interval a meter is polled: its name's hash, as collectors say [s]."""
    number = int.from_bytes(blake2b(meter_key.encode(), digest_size=8).digest(), "big")
    return number % round(INTERVAL_S * 1e6) / 1e6


def counters_only() -> Profile:
    """Return a meter that is read by one request: what two answers say 100 ms apart are two readings of one tick."""
    profile = fleet_profile()
    assert profile.modbus is not None
    counters = tuple(each for each in profile.modbus.points if each.quantity in ENERGY_COUNTERS)
    return profile.model_copy(update={"modbus": profile.modbus.model_copy(update={"points": counters})})


def the_plant(broker_port: int) -> tuple[Plant, dict[str, Profile]]:
    """Return six Modbus meters on three gateways, and two that publish, with the profile of the six."""
    plant, own = fleet(6, 3, poll_interval_s=INTERVAL_S, profile=counters_only())
    broker = MqttConnection(key="broker", kind="mqtt", host="127.0.0.1", port=broker_port)
    published = tuple(
        Meter(
            key=f"published-{n}",
            name=f"Published {n}",
            asset=plant.assets[0].key,
            profile="json_energy_meter",
            connection="broker",
            topic=f"meters/{n}",
        )
        for n in range(2)
    )
    both = {"connections": (*plant.connections, broker), "meters": (*plant.meters, *published)}
    return plant.model_copy(update=both), own


class Publisher:
    """Publishes numbered messages at QoS 1, each with a time of its own, until it is stopped."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.published = 0
        self.enough = asyncio.Event()

    async def run(self) -> None:
        async with aiomqtt.Client("127.0.0.1", self._port, identifier="kill-test-publisher") as client:
            while not self.enough.is_set():
                stamp = (BASE + timedelta(seconds=self.published)).isoformat()
                energy = {"import_wh": self.published}
                payload = json.dumps({"ts": stamp, "power": {"total_w": 1000.0}, "energy": energy})
                for n in range(2):
                    await client.publish(f"meters/{n}", payload, qos=1)
                self.published += 1
                await asyncio.sleep(PUBLISH_EVERY_S)


class Victim:
    """`emsd run` as a process of its own, as often as it takes."""

    def __init__(self, plant: Path, url: str, folder: Path) -> None:
        self._plant = plant
        self._log = folder / "service.log"
        self._environment = {
            **os.environ,
            "EMSD_DATABASE_URL": url,
            "EMSD_SPOOL_FOLDER": str(folder / "spool"),
            "EMSD_LOG_FORMAT": "json",
            "EMSD_HEALTH_INTERVAL_S": "0.2",
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.subprocess.Process]:
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "emsd", "run", "--plant", str(self._plant), "--port", "0",
                env=self._environment, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
            try:
                yield process
            finally:
                if process.returncode is None:
                    process.kill()
                await process.wait()

    def says(self, event: str, *, after: int = 0) -> bool:
        """Whether the log has an event beyond its first `after` bytes."""
        return f'"event": "{event}"' in self._tail(after)

    def size(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0

    def _tail(self, after: int) -> str:
        return self._log.read_bytes()[after:].decode(errors="replace") if self._log.exists() else ""

    async def until_says(self, event: str, process: asyncio.subprocess.Process, after: int) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not self.says(event, after=after):
                if process.returncode is not None:
                    pytest.fail(f"the service ended by itself: {self._tail(after)[-3000:]}")
                await asyncio.sleep(0.05)


async def until_settled(url: str, published: int, ids: tuple[int, int]) -> None:
    """Wait until all that was published is stored, and every run is accounted for."""
    connection = await asyncpg.connect(url)
    stored = open_runs = 0
    try:
        async with asyncio.timeout(WITHIN_S):
            while True:
                stored = await connection.fetchval("SELECT count(*) FROM reading WHERE meter_id = ANY($1)", list(ids))
                open_runs = await connection.fetchval("SELECT count(*) FROM collector_run WHERE accounted_at IS NULL")
                if stored == 2 * published and open_runs == 0:
                    return
                await asyncio.sleep(0.5)
    except TimeoutError:
        pytest.fail(f"{stored} of {2 * published} published readings are stored, {open_runs} runs not accounted for")
    finally:
        await connection.close()


@pytest.mark.timeout(600)
async def test_every_reading_is_stored_once_or_known_to_be_missing_after_many_kills(
    broker: PrivateMosquitto, servers_folder: Path, tmp_path: Path
) -> None:
    database = PrivatePostgres(servers_folder / "killed", fsync=False)
    await asyncio.to_thread(database.start)
    plant, own = the_plant(broker.port)
    # The simulator serves the Modbus meters; the test itself publishes, so that it knows every message.
    modbus_only = plant.model_copy(
        update={
            "connections": plant.connections[:-1],
            "meters": tuple(each for each in plant.meters if each.topic is None),
        }
    )
    chance = random.Random(20260329)
    publisher = Publisher(broker.port)
    publishing: asyncio.Task[None] | None = None
    try:
        async with Simulator(modbus_only, own, free_ports=True) as simulator:
            served = plant.model_copy(
                update={"connections": (*simulator.served_plant.connections, plant.connections[-1])}
            )
            path = written(served, own, tmp_path)
            victim = Victim(path, database.url, tmp_path)
            for kill in range(KILLS):
                if kill == AWAY.start:
                    await asyncio.to_thread(database.stop)
                elif kill == AWAY.stop:
                    await asyncio.to_thread(database.start)
                before = victim.size()
                async with victim.running() as process:
                    if kill == 0 or chance.random() < 0.7:
                        await victim.until_says("service_started", process, before)
                    if publishing is None:
                        # Once it has subscribed, the broker keeps what comes while the service is away.
                        await victim.until_says("broker_connected", process, before)
                        publishing = asyncio.create_task(publisher.run())
                    await asyncio.sleep(chance.uniform(0.0, 1.5))
            async with victim.running() as process:
                before = victim.size()
                await victim.until_says("service_started", process, before)
                assert publishing is not None
                publisher.enough.set()
                await publishing
                ids = await meter_ids(database.url)
                await until_settled(database.url, publisher.published, (ids["published-0"], ids["published-1"]))
                process.terminate()
                async with asyncio.timeout(WITHIN_S):
                    await process.wait()
        await check(database.url, ids, publisher.published)
    finally:
        await asyncio.to_thread(database.stop)


async def meter_ids(url: str) -> dict[str, int]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT key, meter_id FROM meter WHERE profile <> 'derived'")
        return {row["key"]: row["meter_id"] for row in rows}
    finally:
        await connection.close()


async def check(url: str, ids: dict[str, int], published: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        for n in range(2):
            numbers = await connection.fetch(
                "SELECT energy_import_kwh FROM reading WHERE meter_id = $1 ORDER BY time", ids[f"published-{n}"]
            )
            assert [round(1000 * row["energy_import_kwh"]) for row in numbers] == list(range(published))
        polled = {number: phase_s(key) for key, number in ids.items() if not key.startswith("published")}
        found_rows = await connection.fetch(_POLLED, INTERVAL_S, list(polled), list(polled.values()))
        rows = {row["meter_id"]: row for row in found_rows}
        for meter_id in polled:
            found = rows[meter_id]
            assert found["rows"] == found["ticks"], "no tick is stored twice"
            lost = await connection.fetchval(
                "SELECT coalesce(sum(readings), 0) FROM reading_loss WHERE meter_id = $1", meter_id
            )
            unanswered = await connection.fetchval(
                "SELECT coalesce(sum(polls_failed + polls_skipped), 0) FROM collector_health_1m WHERE meter_id = $1",
                meter_id,
            )
            assert found["rows"] + lost + unanswered == found["expected"], (found, lost, unanswered)
            assert lost > 0, "a killed process misses ticks"
    finally:
        await connection.close()
