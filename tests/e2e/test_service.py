"""The service against a real database, broker and simulated devices that come and go."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import httpx
import pytest
import structlog

from emsd.plant.loader import LoadedPlant, load_plant
from emsd.readings import instant_us
from emsd.servers import PrivateMosquitto, PrivatePostgres
from emsd.service import Service
from emsd.settings import Settings
from emsd.store import audit
from emsd.store.pool import open_pool
from simulator import Simulator
from tests.e2e.plants import at_broker, free_port, served

EXAMPLE = Path(__file__).parents[2] / "config" / "plant.example.yaml"
WITHIN_S = 60.0


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for a condition, bounded; how long it takes is of no interest."""
    try:
        async with asyncio.timeout(WITHIN_S):
            while not await condition():  # noqa: ASYNC110 - conditions lie in other processes
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"waited {WITHIN_S:.0f} s in vain until {what}")


@pytest.fixture
def example(mosquitto: PrivateMosquitto) -> LoadedPlant:
    return at_broker(load_plant(EXAMPLE, environ={}), mosquitto.port)


def settings(port: int) -> Settings:
    return Settings(api_port=port, health_interval_s=1.0, accounting_interval_s=0.5, spool_folder="")


@asynccontextmanager
async def running(loaded: LoadedPlant, database_url: str, port: int) -> AsyncIterator[httpx.AsyncClient]:
    service = Service(settings(port), loaded, database_url)
    task = asyncio.create_task(service.run(), name="service-under-test")
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60.0) as client:
            yield client
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def not_ready(client: httpx.AsyncClient) -> dict[str, str]:
    try:
        answer = await client.get("/readyz")
    except httpx.TransportError:
        return {}
    return {} if answer.status_code == 200 else dict(answer.json()["not_ready"])


async def test_every_meter_of_the_example_plant_is_collected(example: LoadedPlant, database_url: str) -> None:
    async with (
        Simulator(example.plant, example.profiles, free_ports=True) as simulator,
        running(served(example, simulator), database_url, free_port()) as client,
    ):
        await until(lambda: ready(client), "the service is ready")

        async def all_meters_spoke() -> bool:
            answer = (await client.get("/api/v1/latest")).json()
            return all(meter["values"] for meter in answer["meters"])

        await until(all_meters_spoke, "every meter has delivered")
        meters = {meter["meter"]: meter for meter in (await client.get("/api/v1/latest")).json()["meters"]}
        assert len(meters) == 25
        assert all(
            value["quality"] in ([], ["device_time"]) for each in meters.values() for value in each["values"].values()
        )
        for key, meter in meters.items():
            shown = meter["values"].get("active_power_kw")
            if shown is None:
                continue
            time_us = instant_us(datetime.fromisoformat(shown["time"]))
            assert shown["value"] == pytest.approx(simulator.truth.power_kw(key, time_us), rel=0.02, abs=0.2), key


async def test_started_without_its_database_it_says_so_and_collects_once_it_is_there(
    example: LoadedPlant, servers_folder: Path
) -> None:
    late = PrivatePostgres(servers_folder / "late", fsync=False)
    await asyncio.to_thread(late.start)
    url = late.url
    await asyncio.to_thread(late.stop)
    try:
        async with Simulator(example.plant, example.profiles, free_ports=True) as simulator:
            loaded = served(example, simulator)
            async with running(loaded, url, free_port()) as client:

                async def names_the_database() -> bool:
                    return {"database", "startup"} <= set(await not_ready(client))

                await until(names_the_database, "/readyz names the database")
                answer = await client.get("/api/v1/plant")
                assert answer.status_code == 503
                assert answer.headers["content-type"] == "application/problem+json"
                await asyncio.to_thread(late.start)
                await until(lambda: ready(client), "the service is ready")
    finally:
        await asyncio.to_thread(late.stop)


async def test_a_broker_that_is_away_is_named_and_taken_up_again(
    example: LoadedPlant, database_url: str, broker: PrivateMosquitto
) -> None:
    away = at_broker(example, broker.port)
    await asyncio.to_thread(broker.stop)
    async with (
        Simulator(away.plant, away.profiles, free_ports=True) as simulator,
        running(served(away, simulator), database_url, free_port()) as client,
    ):

        async def only_the_broker_is_missing() -> bool:
            return set(await not_ready(client)) == {"connection broker"}

        await until(only_the_broker_is_missing, "/readyz names the broker alone")
        detail = (await client.get("/readyz")).json()["detail"]
        assert f"127.0.0.1:{broker.port}" in detail
        await asyncio.to_thread(broker.start)
        await until(lambda: ready(client), "the broker is taken up again")


async def test_a_database_that_goes_away_costs_no_reading(example: LoadedPlant, servers_folder: Path) -> None:
    fickle = PrivatePostgres(servers_folder / "fickle", fsync=False)
    await asyncio.to_thread(fickle.start)
    try:
        async with (
            Simulator(example.plant, example.profiles, free_ports=True) as simulator,
            running(served(example, simulator), fickle.url, free_port()) as client,
        ):
            await until(lambda: ready(client), "the service is ready")
            await asyncio.to_thread(fickle.stop)
            before = await metric(client, "emsd_ingest_accepted_total")

            async def kept_polling() -> bool:
                return await metric(client, "emsd_ingest_accepted_total") >= before + 60

            await until(kept_polling, "60 more readings were taken while the database was away")
            assert await metric(client, "emsd_ingest_database_up") == 0.0
            await asyncio.to_thread(fickle.start)

            async def all_stored() -> bool:
                return (
                    await metric(client, "emsd_ingest_database_up") == 1.0
                    and await metric(client, "emsd_ingest_depth") < 30
                )

            await until(all_stored, "what had waited is stored")
            assert await metric(client, "emsd_ingest_lost_total") == 0.0
        async with open_pool(fickle.url, max_size=1) as pool:
            interval_s = await pool.fetchval(
                "SELECT max(extract(epoch FROM step)) FROM (SELECT time - lag(time) OVER (ORDER BY time) AS step"
                " FROM reading JOIN meter USING (meter_id) WHERE meter.key = 'incomer') AS steps"
            )
            assert interval_s < 3.0, "the incomer is polled every second, database or not"
            assert await audit.lost_readings(pool, from_=await pool.fetchval("SELECT now() - interval '1 hour'")) == 0
    finally:
        await asyncio.to_thread(fickle.stop)


async def test_health_that_the_database_refuses_for_a_while_is_counted_once(
    example: LoadedPlant, database_url: str
) -> None:
    async with (
        Simulator(example.plant, example.profiles, free_ports=True) as simulator,
        open_pool(database_url, max_size=1) as pool,
        running(served(example, simulator), database_url, free_port()) as client,
    ):

        async def recorded() -> float:
            return float(await pool.fetchval("SELECT coalesce(sum(polls_expected), 0) FROM collector_health_1m"))

        async def many_are_recorded() -> bool:
            return await ready(client) and await recorded() >= 60

        await until(many_are_recorded, "health is recorded")
        await pool.execute("ALTER TABLE collector_health_1m RENAME TO hidden")

        async def refused() -> bool:
            text = (await client.get("/metrics")).text
            return any("health" in line for line in text.splitlines() if line.startswith("emsd_task_failures_total{"))

        await until(refused, "the task has failed")
        await pool.execute("ALTER TABLE hidden RENAME TO collector_health_1m")
        before = await recorded()

        async def recorded_again() -> bool:
            return await recorded() > before

        await until(recorded_again, "health is recorded again")
        written = await recorded()
        text = (await client.get("/metrics")).text
        polls = [line for line in text.splitlines() if line.startswith("emsd_meter_polls_total{")]
        lines = [line for line in polls if 'result="expected"' in line]
        assert lines
        assert written <= sum(float(line.rsplit(" ", 1)[1]) for line in lines)


async def metric(client: httpx.AsyncClient, name: str) -> float:
    text = (await client.get("/metrics")).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


async def test_a_port_that_is_in_use_is_one_sentence_and_is_tried_again(
    example: LoadedPlant, database_url: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder, structlog.testing.capture_logs() as events:
        port = holder.getsockname()[1]
        async with running(example, database_url, port) as client:

            async def complained() -> bool:
                return any(event["event"] == "task_failed" and event["task"] == "api" for event in events)

            await until(complained, "it complains")
            failure = next(event for event in events if event["event"] == "task_failed" and event["task"] == "api")
            assert f"cannot listen on 127.0.0.1:{port}" in failure["reason"]
            assert "EMSD_API_PORT" in failure["reason"]
            holder.close()

            async def alive() -> bool:
                try:
                    return (await client.get("/healthz")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(alive, "it listens once the port is free")
