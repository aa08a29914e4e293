"""A plant shared between processes: two that collect, one that serves; and a process that reads its plant on SIGHUP."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from emsd.plant.loader import LoadedPlant, load_plant
from emsd.plant.models import StaleAlarm
from emsd.service import Role, Service, Shard
from emsd.store.pool import open_pool
from simulator import Simulator
from tests.e2e.plants import free_port, service_settings, small_plant, written

WITHIN_S = 60.0


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(WITHIN_S):
            while not await condition():  # noqa: ASYNC110 - conditions lie in the database
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"waited {WITHIN_S:.0f} s in vain until {what}")


@asynccontextmanager
async def running(
    loaded: LoadedPlant, url: str, folder: Path, role: Role, shard: Shard, port: int = 0
) -> AsyncIterator[Service]:
    service = Service(service_settings(folder, api_port=port), loaded, url, role=role, shard=shard)
    task = asyncio.create_task(service.run())
    try:
        async with asyncio.timeout(WITHIN_S):
            await service.started.wait()
        yield service
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_two_parts_and_a_server_do_what_one_service_does(database_url: str, tmp_path: Path) -> None:
    plant, profiles = small_plant(connections=6, meters_each=1)
    plant = plant.model_copy(update={"alarms": (StaleAlarm(key="silent", name="Silent"),)})
    port = free_port()
    async with Simulator(plant, profiles, free_ports=True) as simulator, AsyncExitStack() as stack:
        loaded = load_plant(written(simulator.served_plant, profiles, tmp_path), environ={})

        async def start(role: Role, shard: Shard, at_port: int = 0) -> Service:
            return await stack.enter_async_context(running(loaded, database_url, tmp_path, role, shard, at_port))

        server = await start(Role.SERVE, Shard(), port)
        parts = [await start(Role.COLLECT, Shard(number, 2)) for number in (1, 2)]
        pool = await stack.enter_async_context(open_pool(database_url, max_size=2))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60))

        async def every_meter_is_stored() -> bool:
            return bool(await pool.fetchval("SELECT count(DISTINCT meter_id) FROM reading") == len(plant.meters))

        await until(every_meter_is_stored, "every meter's readings are stored")
        collected = [{collector.name for collector in part._collectors()} for part in parts]
        assert all(collected), "each part has something to do"
        assert collected[0] | collected[1] == {each.key for each in plant.connections}
        assert not collected[0] & collected[1]
        assert not server._collectors()

        async def accounted() -> bool:
            return bool(await pool.fetchval("SELECT count(DISTINCT meter_id) FROM interval_1m") == len(plant.meters))

        await until(accounted, "the server has made intervals of all of them")
        answer = (await client.get("/api/v1/latest")).json()
        assert {meter["source"] for meter in answer["meters"]} == {"database"}
        assert all(meter["values"] for meter in answer["meters"])
        assert (await client.get("/readyz")).status_code == 200

        async def every_alarm_stands() -> bool:
            return bool(await pool.fetchval("SELECT count(*) FROM alarm WHERE retired_at IS NULL") == len(plant.meters))

        await until(every_alarm_stands, "each part has its own alarms and leaves those of the other alone")


async def test_sighup_takes_up_a_changed_plant_at_once(database_url: str, tmp_path: Path) -> None:
    plant, profiles = small_plant(connections=1, meters_each=1)
    async with Simulator(plant, profiles, free_ports=True) as simulator:
        path = written(simulator.served_plant, profiles, tmp_path)
        log = tmp_path / "service.log"
        environment = {
            **os.environ,
            "EMSD_DATABASE_URL": database_url,
            "EMSD_SPOOL_FOLDER": str(tmp_path / "spool"),
            "EMSD_LOG_FORMAT": "json",
        }
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "emsd", "collect", "--shard", "1/1", "--plant", str(path), "--port", "0",
                env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
            try:

                def says(event: str) -> Callable[[], Awaitable[bool]]:
                    async def look() -> bool:
                        return f'"event": "{event}"' in log.read_text(encoding="utf-8")

                    return look

                await until(says("service_started"), "it collects")
                process.send_signal(signal.SIGHUP)
                await until(says("plant_unchanged"), "it has looked")
                text = path.read_text(encoding="utf-8")
                path.write_text(text.replace('"poll_interval_s": 1.0', '"poll_interval_s": 0.5'), encoding="utf-8")
                process.send_signal(signal.SIGHUP)
                await until(says("plant_adopted"), "it goes by the changed plant")
                process.terminate()
                async with asyncio.timeout(WITHIN_S):
                    assert await process.wait() == 0
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
