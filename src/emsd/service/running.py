"""The running service: one asyncio process in which every part is a named, supervised task.

    api          from the first moment, so that /readyz can say what is missing
    prepare      migrations and mirror of the plant; tried again until the database answers
    pipeline     readings in, in batches; over the spool while the database is away
    accounting   readings to intervals
    kpi inputs   readings to the inputs of key figures, by the quarter hour
    retention    what is older than is kept is dropped
    tariffs      prices reach ahead of time however long the service runs
    deriving     residuals, deviations and demand of the newest minute, as readings of derived meters
    carbon months the months of the carbon ledger, for Grafana
    alarms       transitions; outbox: on-call delivery, by one process of the site at a time
    collectors   one task a connection, restarted with backoff when it fails
    health       how well each meter was collected, minute by minute
    identities   who answers behind each meter
    run          when this process collected, so that what nobody polled is known
    (reload)     a changed plant, taken up while everything else goes on

Cancellation is the only way to stop: the pipeline then writes what it holds, and the process ends.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from emsd.api.app import create_app
from emsd.api.dependencies import ApiDependencies
from emsd.collector import Collector
from emsd.errors import ConfigurationError, EmsdError, MigrationError, StoreError
from emsd.ingest.live import LiveValues
from emsd.ingest.pipeline import Pipeline
from emsd.ingest.spool import Spool, open_spool
from emsd.metrics import ServiceMetrics
from emsd.plant.connections import Connection
from emsd.plant.loader import LoadedPlant
from emsd.service.alarming import Alarming
from emsd.service.collection import Assignment, Collection, assignments
from emsd.service.computing import Computing
from emsd.service.ingesting import Ingesting
from emsd.service.left_behind import spool_folder_of, tell_of_spools_left_behind
from emsd.service.preparing import Preparation
from emsd.service.readiness import Readiness
from emsd.service.reloading import Reloader
from emsd.service.roles import Role, Shard
from emsd.service.serving import serve_app
from emsd.settings import Settings
from emsd.store.pool import Pool, open_pool
from emsd.supervision import Backoff, supervise

__all__ = ["Service", "run_service"]

_log = structlog.get_logger(__name__)

_DATABASE_GRACE_S: Final = 6.0
"""Time to write what is left when the service stops [s]; the pipeline takes up to five of them."""


@dataclass(slots=True)
class _Parts:
    """What exists once the meters' numbers are known; what this process does not do is None."""

    preparation: Preparation
    alarming: Alarming
    pipeline: Pipeline | None = None
    computing: Computing | None = None
    collection: Collection | None = None


class Service:
    """The service of one site, or the part of it that `role` and `shard` name; run it once.

    `started` is set when the collectors run; `reload` reads the plant's description again at once.
    """

    def __init__(
        self,
        settings: Settings,
        loaded: LoadedPlant,
        database_url: str,
        *,
        role: Role = Role.RUN,
        shard: Shard = Shard(),  # noqa: B008 - frozen
    ) -> None:
        self._settings = settings
        self._loaded = loaded
        self._database_url = database_url
        self._role = role
        self._shard = shard
        self._meter_ids: dict[str, int] = {}
        self._live = LiveValues()
        self._parts: _Parts | None = None
        self._wanted: dict[str, Assignment] = {}
        self._reloader = Reloader(loaded)
        self._metrics = ServiceMetrics(
            meter_keys=lambda: {meter_id: key for key, meter_id in self._meter_ids.items()},
            pipeline=lambda: self._parts.pipeline.stats() if self._parts and self._parts.pipeline else None,
            accounting=lambda: self._computing.accounting.stats if self._computing else None,
            deriving=lambda: self._computing.deriving.stats if self._computing else None,
            retention=lambda: self._computing.retention.stats if self._computing else None,
            alarms=lambda: self._parts.alarming.stats if self._parts else None,
            collectors=self._collectors,
        )
        self.started = asyncio.Event()

    def reload(self) -> None:
        """Read the plant's description again at once, as after a change of its files."""
        self._reloader.hurry()

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            ConfigurationError: an alarm, a notification target or a connection cannot work as written, or the spool is
                for another database.
            StoreError: the database refuses until a person acts (rights, a newer schema).
            IngestError: another process uses the spool.
        """
        # No session is opened here, so that the API can answer, and say what is missing, while the database is away.
        async with (
            open_pool(self._database_url, min_size=0, max_size=14) as pool,
            self._spool() as spool,
            asyncio.TaskGroup() as group,
            _cut_when_stopping(pool),
        ):
            self._start(group, "api", lambda: self._serve_api(pool))
            preparation = Preparation(self._database_url, pool, spool)
            remembered = await preparation.remembered(self._loaded)
            # Asked before the first reading is taken: what is stored under a wrong number belongs to another meter.
            confirmed = await preparation.meter_ids_at_once(self._loaded)
            meter_ids = confirmed or remembered or await preparation.meter_ids(self._loaded)
            alarming = Alarming(group, pool, self._role, self._shard, self._count_failure)
            parts = self._parts = _Parts(preparation, alarming)
            if self._role.accounts:
                observers = (self._live.observe, alarming.observe)
                parts.computing = Computing(pool, self._settings, self._loaded, meter_ids, observers)
                parts.computing.start(lambda name, run: self._start(group, name, run))
            if self._role.collects:
                await self._start_ingest(group, pool, spool, parts)
            # A group of their own, so that they have stopped before the pipeline writes what is left.
            async with asyncio.TaskGroup() as sources:
                if parts.pipeline is not None:
                    parts.collection = Collection(sources, parts.pipeline, self._count_failure)
                await self._adopt(parts, self._loaded, meter_ids)
                self._settle_down(parts)
                if meter_ids is remembered:
                    await self._verify(parts)
                await self._follow(parts)

    def _settle_down(self, parts: _Parts) -> None:
        # What stands now lives as long as the process; left out of collections, it no longer stalls the polls.
        gc.collect()
        gc.freeze()
        self.started.set()
        _log.info(
            "service_started",
            role=self._role.value,
            shard=str(self._shard),
            meters=sum(len(each.meters) for each in self._wanted.values()),
            connections=len(self._wanted),
            alarms=len(parts.alarming.rules),
        )

    # What changes with the plant.

    async def _adopt(self, parts: _Parts, loaded: LoadedPlant, meter_ids: Mapping[str, int]) -> None:
        """Go by this plant from now on; what has not changed in it is not disturbed.

        Raises:
            ConfigurationError: it cannot work as written; nothing has changed then.
        """
        collection = parts.collection
        wanted = assignments(loaded, meter_ids, self._shard) if collection else {}
        prepared = collection.prepare(wanted) if collection else {}
        await parts.alarming.adopt(loaded, meter_ids)
        if parts.computing is not None:
            parts.computing.adopt(loaded, meter_ids)
        self._loaded, self._meter_ids, self._wanted = loaded, dict(meter_ids), wanted
        if collection is not None:
            await collection.adopt(wanted, prepared)

    async def _verify(self, parts: _Parts) -> None:
        """Bring the database up to date after a start that did not wait for it.

        Raises:
            MigrationError: its schema is not one that this version may write to.
        """
        meter_ids = None
        backoff = Backoff()
        while meter_ids is None:
            try:
                meter_ids = await parts.preparation.meter_ids(self._loaded)
            except MigrationError:
                raise
            except StoreError as error:
                # As for the pipeline: a person can put it right, and what is collected waits in the spool.
                wait_s = backoff.next_s()
                _log.error("database_refuses", reason=str(error), next_try_s=round(wait_s, 1))
                await asyncio.sleep(wait_s)
        if meter_ids != self._meter_ids:
            _log.error("meter_ids_changed", reason="this is another database than the one that the spool is for")
            await self._adopt(parts, self._loaded, meter_ids)

    async def _follow(self, parts: _Parts) -> None:
        """Take up every change of the plant's description until cancelled."""
        async for found in self._reloader.plants():
            try:
                self._rehearse(parts, found)
                await self._adopt(parts, found, await parts.preparation.meter_ids(found))
            except ConfigurationError as error:
                _log.error("plant_kept", reason=str(error), cure="mend the description; the plant as it was goes on")
            except StoreError as error:
                _log.error("plant_kept", reason=str(error), cure="put the database right, then send SIGHUP")
            else:
                self._reloader.adopted(found)
                _log.info("plant_adopted", plant=str(found.path), meters=len(found.plant.meters))

    def _rehearse(self, parts: _Parts, loaded: LoadedPlant) -> None:
        """Find out whether a plant can work before the database hears of it.

        Raises:
            ConfigurationError: it cannot work as written.
        """
        known = self._meter_ids
        numbers = {key: known.get(key, -place) for place, key in enumerate(loaded.numbered_keys, start=1)}
        parts.alarming.check(loaded, numbers)
        if parts.collection is not None:
            parts.collection.prepare(assignments(loaded, numbers, self._shard))

    # Starting.

    async def _start_ingest(self, group: asyncio.TaskGroup, pool: Pool, spool: Spool | None, parts: _Parts) -> None:
        ingesting = Ingesting(
            pool,
            spool,
            self._settings,
            self._loaded.plant.site.number,
            self._shard,
            self._live,
            (parts.alarming.observe,),
            assigned=self._assigned,
            collectors=self._collectors,
        )
        parts.pipeline = ingesting.pipeline
        await ingesting.start(lambda name, run: self._start(group, name, run))

    def _start(self, group: asyncio.TaskGroup, name: str, run: Callable[[], Awaitable[None]]) -> None:
        group.create_task(supervise(name, run, on_failure=self._count_failure), name=name)

    def _count_failure(self, name: str) -> None:
        self._metrics.restarts[name] = self._metrics.restarts.get(name, 0) + 1

    @asynccontextmanager
    async def _spool(self) -> AsyncIterator[Spool | None]:
        settings, shard, site_number = self._settings, self._shard, self._loaded.plant.site.number
        place = settings.spool_place()
        if place is None or not self._role.collects:
            yield None
            return
        await asyncio.to_thread(tell_of_spools_left_behind, place, site_number, shard)
        async with open_spool(
            spool_folder_of(place, site_number, shard),
            max_bytes=settings.spool_max_mb * 2**20,
            min_free_bytes=settings.spool_min_free_mb * 2**20,
        ) as spool:
            yield spool

    # While it runs.

    def _assigned(self) -> Iterable[Assignment]:
        return self._wanted.values()

    @property
    def _computing(self) -> Computing | None:
        return self._parts.computing if self._parts else None

    def _collectors(self) -> Sequence[Collector]:
        return self._parts.collection.collectors if self._parts and self._parts.collection else ()

    async def _serve_api(self, pool: Pool) -> None:
        registry = CollectorRegistry()
        registry.register(self._metrics)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        dependencies = ApiDependencies(
            pool=pool,
            site_id=self._loaded.plant.site.number,
            registry=registry,
            live=self._live if self._role.collects else None,
            readiness=Readiness(
                started=self.started.is_set,
                accounting_lag_s=self._accounting_lag_s,
                deriving_lag_s=self._deriving_lag_s,
                connections=self._connections_here,
                collectors=self._collectors,
            ),
            settle_s=self._settings.settle_s,
        )
        await serve_app(create_app(dependencies), self._settings.api_host, self._settings.api_port)

    def _accounting_lag_s(self) -> float | None:
        if not self._role.accounts:
            return None
        return self._computing.accounting.stats.lag_s if self._computing else 0.0

    def _deriving_lag_s(self) -> float | None:
        if not self._role.accounts:
            return None
        return self._computing.deriving.lag_s if self._computing else 0.0

    def _connections_here(self) -> Mapping[str, Connection]:
        """Connections with meters that this process collects, running or not yet."""
        if not self._role.collects:
            return {}
        used = {meter.connection for meter in self._loaded.plant.meters}
        return {
            each.key: each for each in self._loaded.plant.connections if each.key in used and self._shard.owns(each.key)
        }


@asynccontextmanager
async def _cut_when_stopping(pool: Pool) -> AsyncIterator[None]:
    """Cut the sessions of whoever still waits for the database _DATABASE_GRACE_S after the end of the block."""
    try:
        yield
    finally:
        asyncio.get_running_loop().call_later(_DATABASE_GRACE_S, pool.terminate)


async def run_service(service: Service) -> None:
    """Run a service until cancelled; an error that a person must act on leaves as itself, not in a group.

    Raises:
        EmsdError: see `Service.run`.
    """
    try:
        await service.run()
    except* EmsdError as group:
        raise next(_leaves(group)) from None


def _leaves(group: BaseExceptionGroup[EmsdError]) -> Iterator[EmsdError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
