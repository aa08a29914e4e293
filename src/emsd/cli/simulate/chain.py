"""The whole chain and its devices in one process, by one clock that runs fast: collectors, ingest, accounting, API.

What travels between them is real: sockets, messages, rows. Only the calendar is not: devices and collectors read the
same `FastClock`, polls come `speed` times as often, and timeouts stay what they are in real seconds. The clock stands
still while rows wait for the database, so nothing is lost to haste; a slow machine only takes longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from emsd.accounting import PlantAccounting
from emsd.accounting.kpi_inputs import KpiInputs
from emsd.api import ApiDependencies, create_app
from emsd.collector import BoundMeter, Collector
from emsd.ingest.live import LiveValues
from emsd.ingest.pipeline import Pipeline
from emsd.plant.loader import LoadedPlant
from emsd.plant.models import Meter
from emsd.plugins import collector_factory
from emsd.readings import to_datetime
from emsd.servers.process import free_port
from emsd.service import Shard
from emsd.service.collection import assignments
from emsd.service.serving import serve_app
from emsd.store.plant import sync_plant
from emsd.store.pool import Pool
from simulator import Simulator
from simulator.clock import FastClock

__all__ = ["Chain", "run_chain"]

_LOOPBACK: Final = "127.0.0.1"
_LISTENS_WITHIN_S: Final = 30.0
_MOST_WAITING: Final = 5_000
"""Rows that may wait for the database before the clock does."""
_MOST_LAG_S: Final = 2.0
_ACCOUNTING_EVERY_S: Final = 0.5
_SETTLE_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain that runs.

    app      the API, by the chain's clock
    sources  clock and collectors, while they run
    """

    pool: Pool
    simulator: Simulator
    clock: FastClock
    collectors: Sequence[Collector]
    pipeline: Pipeline
    accounting: PlantAccounting
    kpi_inputs: KpiInputs
    app: FastAPI
    sources: AsyncExitStack

    @asynccontextmanager
    async def serve_api(self) -> AsyncIterator[str]:
        """Serve the API on a free loopback port until the block ends, and yield its URL."""
        port = free_port()
        async with _running({"api": lambda: serve_app(self.app, _LOOPBACK, port)}):
            await _listens(port)
            yield f"http://{_LOOPBACK}:{port}"

    async def over(self) -> None:
        """Wait until the clock stands at its end."""
        await self.clock.over.wait()

    async def finish(self) -> None:
        """Stop clock and collectors, store what they had, and account for all of it; call it where it was opened."""
        await self.sources.aclose()
        while self.pipeline.stats().depth:  # noqa: ASYNC110 - the pipeline has no event for it
            await asyncio.sleep(_ACCOUNTING_EVERY_S / 10)
        await self.accounting.run_until_clean()
        await self.kpi_inputs.run_until_clean()


@asynccontextmanager
async def run_chain(
    pool: Pool, loaded: LoadedPlant, make_simulator: Callable[[FastClock], Simulator], clock: FastClock
) -> AsyncIterator[Chain]:
    """Run devices and chain on a migrated database until the block ends; the clock runs in it, or stands at its end.

    make_simulator  the devices of `loaded`, by this clock; with free ports the collectors find them

    Raises:
        ConfigurationError: a meter cannot be collected, or simulated.
        StoreError: the database refuses the plant.
    """
    meter_ids = await sync_plant(pool, loaded.plant, loaded.profiles)
    live = LiveValues(clock)

    def now() -> datetime:
        return to_datetime(clock())

    accounting = PlantAccounting(pool, loaded, meter_ids, interval_s=_ACCOUNTING_EVERY_S, now=now)
    kpi_inputs = KpiInputs(pool, loaded, meter_ids, now=now)
    pipeline = Pipeline(pool, observers=(live.observe,), now_us=clock)
    app = create_app(
        ApiDependencies(
            pool=pool,
            site_id=loaded.plant.site.number,
            registry=CollectorRegistry(),
            live=live,
            settle_s=_SETTLE_S,
            now=now,
        )
    )

    def ready() -> bool:
        stats = pipeline.stats()
        return stats.depth < _MOST_WAITING and stats.lag_s < _MOST_LAG_S

    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(make_simulator(clock))
        served = replace(loaded, plant=simulator.served_plant)
        collectors = _collectors(served, meter_ids, pipeline, clock)
        # Collectors stop before the pipeline writes what is left.
        await stack.enter_async_context(
            _running({"pipeline": pipeline.run, "accounting": accounting.run, "kpi inputs": kpi_inputs.run})
        )
        sources = await stack.enter_async_context(AsyncExitStack())
        runs = {f"collector {number}": each.run for number, each in enumerate(collectors)}
        await sources.enter_async_context(_running({**runs, "clock": lambda: clock.run(ready)}))
        yield Chain(pool, simulator, clock, collectors, pipeline, accounting, kpi_inputs, app, sources)


def _collectors(
    loaded: LoadedPlant, meter_ids: dict[str, int], pipeline: Pipeline, clock: FastClock
) -> list[Collector]:
    """Return the collectors of a plant, which poll as often by the clock as the plant says."""
    found: list[Collector] = []
    for each in assignments(loaded, meter_ids, Shard()).values():
        bound = tuple(replace(one, meter=_hurried(one, clock.speed)) for one in each.bound)
        factory = collector_factory(each.connection.kind)
        found.append(factory(each.connection, bound, pipeline, now_us=clock))
    return found


def _hurried(bound: BoundMeter, speed: float) -> Meter:
    return bound.meter.model_copy(update={"poll_interval_s": bound.meter.poll_interval_s / speed})


async def _listens(port: int) -> None:
    """Wait until somebody listens on a loopback port."""
    async with asyncio.timeout(_LISTENS_WITHIN_S):
        while True:
            try:
                _, writer = await asyncio.open_connection(_LOOPBACK, port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return


@asynccontextmanager
async def _running(runs: Mapping[str, Callable[[], Coroutine[Any, Any, None]]]) -> AsyncIterator[None]:
    """Run tasks until the block ends; the first that fails ends the block too."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run(), name=name) for name, run in runs.items()]
        yield
        for task in tasks:
            task.cancel()
