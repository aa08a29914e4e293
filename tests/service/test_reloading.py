"""A plant's files are followed: a valid change is yielded once, a wrong one is refused with its faults."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from emsd.plant.loader import LoadedPlant, load_plant
from emsd.service.reloading import Reloader

EXAMPLE = Path(__file__).parents[2] / "config" / "plant.example.yaml"
WITHIN_S = 60.0


@pytest.fixture
def plant_file(tmp_path: Path) -> Path:
    path = tmp_path / "plant.yaml"
    shutil.copy(EXAMPLE, path)
    shutil.copy(EXAMPLE.parent / "meters.example.csv", tmp_path)
    return path


@asynccontextmanager
async def following(path: Path) -> AsyncIterator[tuple[Reloader, asyncio.Queue[LoadedPlant]]]:
    """Follow the plant in `path` with quick looks; what is yielded arrives in the queue."""
    reloader = Reloader(load_plant(path, environ={}), look_every_s=0.02)
    found: asyncio.Queue[LoadedPlant] = asyncio.Queue()

    async def follow() -> None:
        async for plant in reloader.plants():
            reloader.adopted(plant)
            found.put_nowait(plant)

    task = asyncio.create_task(follow())
    await asyncio.sleep(0)
    try:
        yield reloader, found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def next_of(found: asyncio.Queue[LoadedPlant]) -> LoadedPlant:
    async with asyncio.timeout(WITHIN_S):
        return await found.get()


async def until_logged(events: list[structlog.typing.EventDict], name: str) -> structlog.typing.EventDict:
    async with asyncio.timeout(WITHIN_S):
        while not any(event["event"] == name for event in events):  # noqa: ASYNC110 - a log has no event to wait for
            await asyncio.sleep(0.01)
    return next(event for event in events if event["event"] == name)


def rename_site(path: Path, name: str) -> None:
    text = path.read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("  name: "))
    path.write_text(text.replace(line, f"  name: {name}", 1), encoding="utf-8")


async def test_a_changed_file_is_read_again(plant_file: Path) -> None:
    with structlog.testing.capture_logs() as events:
        async with following(plant_file) as (reloader, found):
            reloader.hurry()
            await until_logged(events, "plant_unchanged")
            rename_site(plant_file, "Another works")
            assert (await next_of(found)).plant.site.name == "Another works"
    change = next(event for event in events if event["event"] == "plant_change")
    assert "-> Another works" in change["change"]


async def test_a_profile_of_the_plants_own_is_watched_too(plant_file: Path) -> None:
    folder = plant_file.parent / "own"
    folder.mkdir()
    profile = Path(__file__).parents[2] / "collectors" / "profiles" / "schneider_pm5560.yaml"
    shutil.copy(profile, folder / profile.name)
    plant_file.write_text(plant_file.read_text(encoding="utf-8") + "\nprofile_folders: [own]\n", encoding="utf-8")
    with structlog.testing.capture_logs() as events:
        async with following(plant_file) as (reloader, found):
            reloader.hurry()
            await until_logged(events, "plant_unchanged")
            copied = folder / profile.name
            copied.write_text(
                copied.read_text(encoding="utf-8").replace("max_gap_registers: 32", "max_gap_registers: 31"),
                encoding="utf-8",
            )
            taken = await next_of(found)
    own = taken.profiles["schneider_pm5560"].modbus
    assert own is not None
    assert own.max_gap_registers == 31


async def test_a_wrong_description_is_refused_and_a_mended_one_is_taken(plant_file: Path) -> None:
    good = plant_file.read_text(encoding="utf-8")
    with structlog.testing.capture_logs() as events:
        async with following(plant_file) as (reloader, found):
            reloader.hurry()
            await until_logged(events, "plant_unchanged")
            plant_file.write_text(good.replace("unit_id: 1", "unit_id: 300", 1), encoding="utf-8")
            refusal = await until_logged(events, "plant_refused")
            assert "unit_id 300" in refusal["fault"]
            await until_logged(events, "plant_kept")
            assert found.empty()
            plant_file.write_text(good, encoding="utf-8")
            rename_site(plant_file, "Mended works")
            assert (await next_of(found)).plant.site.name == "Mended works"


async def test_a_file_that_is_gone_for_a_moment_stops_nothing(plant_file: Path) -> None:
    good = plant_file.read_text(encoding="utf-8")
    with structlog.testing.capture_logs() as events:
        async with following(plant_file) as (reloader, found):
            reloader.hurry()
            await until_logged(events, "plant_unchanged")
            plant_file.unlink()
            reloader.hurry()
            await until_logged(events, "plant_kept")
            plant_file.write_text(good, encoding="utf-8")
            rename_site(plant_file, "Works again")
            assert (await next_of(found)).plant.site.name == "Works again"


async def test_a_change_made_while_the_start_waits_for_its_database_is_taken(plant_file: Path) -> None:
    reloader = Reloader(load_plant(plant_file, environ={}), look_every_s=0.02)
    rename_site(plant_file, "Renamed meanwhile")
    async with asyncio.timeout(WITHIN_S):
        taken = await anext(reloader.plants())
    assert taken.plant.site.name == "Renamed meanwhile"
