"""The service in processes of its own, and its plant as files, as a person would have them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import httpx

from bench.child import REPOSITORY
from emsd.plant.models import Plant
from emsd.plant.profile import Profile

__all__ = ["Process", "at_ports", "running_service", "running_shards", "write_plant"]

_READY_WITHIN_S: Final = 60.0
_STOP_WITHIN_S: Final = 15.0


def at_ports(plant: Plant, ports: Mapping[str, int]) -> Plant:
    """Return the plant with the ports on which its connections are really served."""
    connections = tuple(each.model_copy(update={"port": ports[each.key]}) for each in plant.connections)
    return plant.model_copy(update={"connections": connections})


def write_plant(folder: Path, plant: Plant, profiles: Mapping[str, Profile]) -> Path:
    """Write the plant and its profiles, and return where the plant is."""
    (folder / "profiles").mkdir(exist_ok=True)
    for name, profile in profiles.items():
        text = profile.model_dump_json(exclude_none=True, exclude_defaults=True, indent=1)
        (folder / "profiles" / f"{name}.yaml").write_text(text, encoding="utf-8")
    document = plant.model_dump(mode="json", exclude_none=True)
    document["profile_folders"] = ["profiles"]
    path = folder / "plant.yaml"
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return path


class Process(NamedTuple):
    """A process of the service: its number, and a client of its API."""

    pid: int
    client: httpx.AsyncClient


@asynccontextmanager
async def running_shards(plant: Path, url: str, shards: int) -> AsyncIterator[list[Process]]:
    """Run the service until the block ends; yield its processes once all are ready.

    Without shards that is `emsd run`, else so many of `emsd collect` and one of `emsd serve`. See `running_service`.
    """
    parts = [("collect", "--shard", f"{part}/{shards}") for part in range(1, shards + 1)]
    commands = [*parts, ("serve",)] if shards else [("run",)]
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running_service(plant, url, *command)) for command in commands]


@asynccontextmanager
async def running_service(plant: Path, url: str, *command: str) -> AsyncIterator[Process]:
    """Run one process of the service, `emsd run` unless `command` says otherwise, until the block ends.

    It is ready then. Its spool and its log are beside the plant.

    Raises:
        RuntimeError: it ended before it listened.
        TimeoutError: it is not ready within a minute.
    """
    command = command or ("run",)
    log_file = plant.with_name(f"{'-'.join(command).replace('/', '-of-')}.log")
    environment = {
        **os.environ, "EMSD_DATABASE_URL": url, "EMSD_LOG_FORMAT": "json", "EMSD_LOG_LEVEL": "info",
        "EMSD_SPOOL_FOLDER": str(plant.with_name("spool")),
    }  # fmt: skip
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "emsd", *command, "--plant", str(plant), "--port", "0",
            cwd=REPOSITORY, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            address = await _address(process, log_file)
            async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=30) as client:
                await _until_ready(client)
                yield Process(process.pid, client)
        finally:
            await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _address(process: asyncio.subprocess.Process, log_file: Path) -> str:
    """Return where the API listens, as the service's log says."""
    async with asyncio.timeout(_READY_WITHIN_S):
        while process.returncode is None:
            for line in _log(log_file).splitlines():
                if '"api_listening"' in line:
                    return str(json.loads(line)["url"])
            await asyncio.sleep(0.1)
    raise RuntimeError(f"the service ended before it listened: {_log(log_file)[-2000:]}")


def _log(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


async def _until_ready(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(_READY_WITHIN_S):
        while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - another process has no event
            await asyncio.sleep(0.5)
