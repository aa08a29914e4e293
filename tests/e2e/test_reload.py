"""A running service follows its plant's description: only what changed is exchanged, a wrong one changes nothing."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from emsd.collector import Collector
from emsd.plant.loader import LoadedPlant, load_plant
from emsd.service import Service
from emsd.store.pool import Pool, open_pool
from simulator import Simulator
from tests.e2e.plants import service_settings, small_plant, written

WITHIN_S = 60.0


async def until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(WITHIN_S):
            while not condition():  # noqa: ASYNC110 - conditions lie in other tasks
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"waited {WITHIN_S:.0f} s in vain until {what}")


@asynccontextmanager
async def running(loaded: LoadedPlant, url: str, folder: Path) -> AsyncIterator[Service]:
    service = Service(service_settings(folder), loaded, url)
    task = asyncio.create_task(service.run())
    try:
        async with asyncio.timeout(WITHIN_S):
            await service.started.wait()
        yield service
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def collectors(service: Service) -> dict[str, Collector]:
    return {collector.name: collector for collector in service._collectors()}


def delivered(service: Service, meter: str) -> bool:
    return meter in service._meter_ids and bool(service._live.latest(service._meter_ids[meter]))


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    edit(document)
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")


async def stored(pool: Pool, key: str) -> bool:
    count = "SELECT count(*) FROM reading JOIN meter USING (meter_id) WHERE meter.key = $1"
    return bool(await pool.fetchval(count, key))


async def test_only_the_connection_that_changed_is_exchanged(database_url: str, tmp_path: Path) -> None:
    plant, profiles = small_plant(connections=2, meters_each=2)
    async with Simulator(plant, profiles, free_ports=True) as simulator:
        path = written(simulator.served_plant, profiles, tmp_path)
        loaded = load_plant(path, environ={})
        async with running(loaded, database_url, tmp_path) as service:
            await until(lambda: all(delivered(service, each.key) for each in plant.meters), "all meters deliver")
            before = collectors(service)
            with structlog.testing.capture_logs() as events:
                change(path, lambda document: document["meters"][0].update(poll_interval_s=0.5))
                service.reload()
                await until(lambda: any(event["event"] == "plant_adopted" for event in events), "it is adopted")
            after = collectors(service)
            changed, kept = plant.connections[0].key, plant.connections[1].key
            assert after[kept] is before[kept]
            assert after[changed] is not before[changed]
            (said,) = (event["change"] for event in events if event["event"] == "plant_change")
            assert said == f"meter {plant.meters[0].key} changed (poll_interval_s: 1.0 -> 0.5)"


async def test_a_new_meter_delivers_and_a_removed_one_stops(database_url: str, tmp_path: Path) -> None:
    plant, profiles = small_plant(connections=2, meters_each=2)
    gone, come = plant.meters[0].key, plant.meters[2].key
    async with Simulator(plant, profiles, free_ports=True) as simulator:
        path = written(simulator.served_plant, profiles, tmp_path)
        complete = json.loads(path.read_text(encoding="utf-8"))["meters"]
        change(path, lambda document: document.update(meters=[each for each in complete if each["key"] != come]))
        async with (
            running(load_plant(path, environ={}), database_url, tmp_path) as service,
            open_pool(database_url, max_size=2) as pool,
        ):
            await until(lambda: delivered(service, gone), "the first meter delivers")
            change(path, lambda document: document.update(meters=[each for each in complete if each["key"] != gone]))
            await until(lambda: delivered(service, come), "the new meter delivers without a restart")
            assert gone not in {bound.meter.key for assigned in service._assigned() for bound in assigned.bound}
            assert await pool.fetchval("SELECT removed_at IS NOT NULL FROM meter WHERE key = $1", gone)
            assert await stored(pool, gone), "its history stays"


async def test_a_wrong_description_changes_nothing(database_url: str, tmp_path: Path) -> None:
    plant, profiles = small_plant(connections=1, meters_each=2)
    async with Simulator(plant, profiles, free_ports=True) as simulator:
        path = written(simulator.served_plant, profiles, tmp_path)
        async with running(load_plant(path, environ={}), database_url, tmp_path) as service:
            await until(lambda: all(delivered(service, each.key) for each in plant.meters), "all meters deliver")
            before = collectors(service)
            with structlog.testing.capture_logs() as events:
                change(path, lambda document: document["meters"][0].update(unit_id=300))
                await until(lambda: any(event["event"] == "plant_kept" for event in events), "it is refused")
            assert any("unit_id 300" in event["fault"] for event in events if event["event"] == "plant_refused")
            assert collectors(service) == before
            polls = {each.meter_id: each.polls_ok for each in before[plant.connections[0].key].health()}
            await until(
                lambda: all(each.polls_ok > polls[each.meter_id] for each in before[plant.connections[0].key].health()),
                "the meters are polled as before",
            )


async def test_what_cannot_work_is_refused_before_the_database_hears_of_it(database_url: str, tmp_path: Path) -> None:
    plant, profiles = small_plant(connections=1, meters_each=1)
    async with Simulator(plant, profiles, free_ports=True) as simulator:
        path = written(simulator.served_plant, profiles, tmp_path)
        async with (
            running(load_plant(path, environ={}), database_url, tmp_path) as service,
            open_pool(database_url, max_size=2) as pool,
        ):
            await until(lambda: delivered(service, plant.meters[0].key), "the meter delivers")
            with structlog.testing.capture_logs() as events:

                def edit(document: dict[str, Any]) -> None:
                    document["site"]["name"] = "Renamed"
                    document["notification_targets"] = [{"key": "pager", "url": "nosuchscheme://x"}]

                change(path, edit)
                await until(lambda: any(event["event"] == "plant_kept" for event in events), "it is refused")
            assert await pool.fetchval("SELECT name FROM site") != "Renamed"


async def test_a_database_that_refuses_a_change_leaves_the_service_as_it_was(database_url: str, tmp_path: Path) -> None:
    plant, profiles = small_plant(connections=1, meters_each=1)
    async with Simulator(plant, profiles, free_ports=True) as simulator:
        path = written(simulator.served_plant, profiles, tmp_path)
        async with (
            running(load_plant(path, environ={}), database_url, tmp_path) as service,
            open_pool(database_url, max_size=2) as pool,
        ):
            await until(lambda: delivered(service, plant.meters[0].key), "the meter delivers")
            await pool.execute("ALTER TABLE carbon_factor RENAME TO away")
            (collector,) = collectors(service).values()
            with structlog.testing.capture_logs() as events:
                change(path, lambda document: document["meters"][0].update(poll_interval_s=0.5))
                service.reload()
                await until(lambda: any(event["event"] == "plant_kept" for event in events), "it is refused")
                assert collectors(service) == {collector.name: collector}
                polls = collector.health()[0].polls_ok
                await until(lambda: collector.health()[0].polls_ok > polls, "the meter is polled as before")
                await pool.execute("ALTER TABLE away RENAME TO carbon_factor")
                service.reload()
                await until(lambda: any(event["event"] == "plant_adopted" for event in events), "it is adopted")


@pytest.mark.parametrize("moment", ["start", "reload"])
async def test_a_spool_that_takes_nothing_stops_neither_start_nor_reload(
    database_url: str, tmp_path: Path, moment: str
) -> None:
    plant, profiles = small_plant(connections=1, meters_each=1)
    in_its_place = tmp_path / "spool"
    if moment == "start":
        in_its_place.touch()
    async with Simulator(plant, profiles, free_ports=True) as simulator:
        path = written(simulator.served_plant, profiles, tmp_path)
        async with running(load_plant(path, environ={}), database_url, tmp_path) as service:
            await until(lambda: delivered(service, plant.meters[0].key), "the meter delivers")
            if moment == "reload":
                # As a disk that fails does it: the files are there no more when they are opened anew.
                shutil.rmtree(in_its_place)
                in_its_place.touch()
                assert service._parts is not None
                assert service._parts.preparation._spool is not None
                service._parts.preparation._spool._folder._close_files()
            with structlog.testing.capture_logs() as events:
                change(path, lambda document: document["meters"][0].update(poll_interval_s=0.5))
                service.reload()
                await until(lambda: any(event["event"] == "plant_adopted" for event in events), "it is adopted")
            assert any(event["event"] == "meter_ids_not_remembered" for event in events)
