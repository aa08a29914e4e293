"""The running service: one asyncio process in which every part is a named, supervised task.

    api          from the first moment, so that /readyz can say what is missing
    prepare      migrations, mirror of the plant, alarms' rules; tried again until the database answers
    pipeline     readings in, in batches
    accounting   readings to intervals
    alarms       transitions and on-call delivery
    collectors   one task a connection, restarted with backoff when it fails
    health       how well each meter was collected, minute by minute

Cancellation is the only way to stop: the pipeline then writes what it holds, and the process ends.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
import uvicorn
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from emsd.accounting import Accounting, accounts_of
from emsd.alarms.binding import bind_rules
from emsd.alarms.engine import AlarmEngine
from emsd.alarms.oncall import OnCall
from emsd.alarms.outbox import Outbox
from emsd.alarms.stats import AlarmStats
from emsd.api.app import create_app
from emsd.api.dependencies import ApiDependencies, ReadinessProbe
from emsd.collector import BoundMeter, Collector, honour_cancellation, wall_clock_us
from emsd.errors import EmsdError, ServerError, StoreUnavailable
from emsd.ingest.live import LiveValues
from emsd.ingest.pipeline import Pipeline
from emsd.metrics import ServiceMetrics
from emsd.plant.connections import Connection
from emsd.plant.loader import LoadedPlant
from emsd.plant.models import Meter
from emsd.plugins import collector_factory
from emsd.settings import Settings
from emsd.store.health import HealthRecorder
from emsd.store.migrations import migrate
from emsd.store.plant import sync_plant
from emsd.store.pool import Pool, open_pool, place
from emsd.supervision import Backoff, supervise

__all__ = ["Service", "run_service"]

_log = structlog.get_logger(__name__)

_LARGEST_LAG_S: Final = 120.0
"""Accounting that is further behind than this [s] is reported as not ready."""

_DATABASE_GRACE_S: Final = 6.0
"""Time to write what is left when the service stops [s]; the pipeline takes up to five of them."""


@dataclass(slots=True)
class _Parts:
    """What exists once the database knows the plant."""

    meter_keys: dict[int, str]
    pipeline: Pipeline
    accounting: Accounting
    alarm_stats: AlarmStats
    collectors: tuple[Collector, ...]


class Service:
    """The service of one site; run it once.

    `started` is set when the collectors run.
    """

    def __init__(self, settings: Settings, loaded: LoadedPlant, database_url: str) -> None:
        self._settings = settings
        self._loaded = loaded
        self._database_url = database_url
        self._live = LiveValues()
        self._parts: _Parts | None = None
        self._metrics = ServiceMetrics(
            meter_keys=lambda: self._parts.meter_keys if self._parts else {},
            pipeline=lambda: self._parts.pipeline.stats() if self._parts else None,
            accounting=lambda: self._parts.accounting.stats if self._parts else None,
            alarms=lambda: self._parts.alarm_stats if self._parts else None,
            collectors=lambda: self._parts.collectors if self._parts else (),
        )
        self.started = asyncio.Event()

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            ConfigurationError: an alarm, a notification target or a connection cannot work as written.
            StoreError: the database refuses until a person acts (rights, a newer schema).
        """
        # No session is opened here, so that the API can answer, and say what is missing, while the database is away.
        async with (
            open_pool(self._database_url, min_size=0, max_size=12) as pool,
            asyncio.TaskGroup() as group,
            _cut_when_stopping(pool),
        ):
            self._start(group, "api", lambda: self._serve_api(pool))
            meter_ids = await self._prepare(pool)
            rules = bind_rules(self._loaded.plant, self._loaded.profiles, meter_ids)
            on_call = OnCall(self._loaded.plant.notification_targets)
            stats = AlarmStats()
            outbox = Outbox(pool, on_call, stats=stats)
            engine = AlarmEngine(
                rules, pool, site_id=self._loaded.plant.site.number, on_notice=outbox.wake, stats=stats
            )
            pipeline = Pipeline(
                pool,
                capacity_rows=self._settings.pipeline_capacity_rows,
                batch_rows=self._settings.batch_rows,
                batch_age_s=self._settings.batch_age_s,
                observers=(self._live.observe, engine.observe),
            )
            accounting = Accounting(
                pool,
                accounts_of(self._loaded, meter_ids),
                self._loaded.plant.site.zone,
                interval_s=self._settings.accounting_interval_s,
            )
            collectors = tuple(self._open_collectors(meter_ids, pipeline))
            keys = {meter_id: key for key, meter_id in meter_ids.items()}
            self._parts = _Parts(keys, pipeline, accounting, stats, collectors)
            self._start(group, "pipeline", pipeline.run)
            self._start(group, "accounting", accounting.run)
            self._start(group, "alarms", engine.run)
            self._start(group, "outbox", outbox.run)
            # It knows what is written already, and so must outlive a restart of its task.
            recorder = HealthRecorder(pool)
            self._start(group, "health", lambda: self._record_health(recorder, collectors))
            # A group of their own, so that they have stopped before the pipeline writes what is left.
            async with asyncio.TaskGroup() as sources:
                for collector in collectors:
                    self._start(sources, f"collector {collector.name}", collector.run)
                # What stands now lives as long as the process; left out of collections, it no longer stalls the polls.
                gc.collect()
                gc.freeze()
                self.started.set()
                _log.info("service_started", meters=len(meter_ids), connections=len(collectors), alarms=len(rules))

    def _start(self, group: asyncio.TaskGroup, name: str, run: Callable[[], Awaitable[None]]) -> None:
        group.create_task(supervise(name, run, on_failure=self._count_failure), name=name)

    def _count_failure(self, name: str) -> None:
        self._metrics.restarts[name] = self._metrics.restarts.get(name, 0) + 1

    async def _prepare(self, pool: Pool) -> dict[str, int]:
        """Bring schema and mirror of the plant up to date; wait for a database that is away."""
        backoff = Backoff()
        while True:
            try:
                applied = await migrate(self._database_url)
                meter_ids = await sync_plant(pool, self._loaded.plant, self._loaded.profiles)
            except StoreUnavailable as error:
                honour_cancellation()
                wait_s = backoff.next_s()
                _log.warning(
                    "database_unreachable",
                    address=place(self._database_url),
                    reason=str(error),
                    next_try_s=round(wait_s, 1),
                )
                await asyncio.sleep(wait_s)
            else:
                _log.info("database_ready", address=place(self._database_url), migrations_applied=len(applied))
                return {meter.key: meter_ids[meter.key] for meter in self._loaded.plant.meters}

    def _open_collectors(self, meter_ids: Mapping[str, int], pipeline: Pipeline) -> Iterator[Collector]:
        for connection in self._loaded.plant.connections:
            meters = [
                BoundMeter(meter_ids[meter.key], self._rated(meter), self._loaded.profile_of(meter))
                for meter in self._loaded.meters_of_connection(connection.key)
            ]
            if meters:
                yield collector_factory(connection.kind)(connection, meters, pipeline)

    def _rated(self, meter: Meter) -> Meter:
        """Return the meter with the rating that plausibility goes by, which may stand at its asset."""
        return meter.model_copy(update={"rated_power_kw": self._loaded.rated_power_kw(meter)})

    async def _record_health(self, recorder: HealthRecorder, collectors: Sequence[Collector]) -> None:
        while True:
            await asyncio.sleep(self._settings.health_interval_s)
            healths = [health for collector in collectors for health in collector.health()]
            try:
                await recorder.record(wall_clock_us(), healths)
            except StoreUnavailable as error:
                _log.warning("collector_health_waits", reason=str(error))

    async def _serve_api(self, pool: Pool) -> None:
        registry = CollectorRegistry()
        registry.register(self._metrics)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        dependencies = ApiDependencies(
            pool=pool,
            site_id=self._loaded.plant.site.number,
            registry=registry,
            live=self._live,
            readiness=self._readiness(),
            settle_s=self._settings.settle_s,
        )
        host, port = self._settings.api_host, self._settings.api_port
        with _listening(host, port) as listener:
            _log.info("api_listening", url=f"http://{host}:{listener.getsockname()[1]}")
            await _serve(uvicorn.Config(create_app(dependencies), **_UVICORN), listener)

    def _readiness(self) -> dict[str, ReadinessProbe]:
        probes: dict[str, ReadinessProbe] = {"startup": self._startup_probe, "accounting": self._accounting_probe}
        for connection in self._loaded.plant.connections:
            if self._loaded.meters_of_connection(connection.key):
                probes[f"connection {connection.key}"] = self._connection_probe(connection.key)
        return probes

    async def _startup_probe(self) -> str | None:
        return None if self._parts else "waits for the database before it collects"

    async def _accounting_probe(self) -> str | None:
        lag_s = self._parts.accounting.stats.lag_s if self._parts else 0.0
        return None if lag_s <= _LARGEST_LAG_S else f"intervals are {lag_s:.0f} s behind the readings"

    def _connection_probe(self, key: str) -> ReadinessProbe:
        async def probe() -> str | None:
            for collector in self._parts.collectors if self._parts else ():
                if collector.name == key and collector.connected():
                    return None
            return f"{_where(self._loaded.connections_by_key[key])} does not answer"

        return probe


@asynccontextmanager
async def _cut_when_stopping(pool: Pool) -> AsyncIterator[None]:
    """Cut the sessions of whoever still waits for the database _DATABASE_GRACE_S after the end of the block."""
    try:
        yield
    finally:
        asyncio.get_running_loop().call_later(_DATABASE_GRACE_S, pool.terminate)


_UVICORN: Final[dict[str, Any]] = {
    "log_config": None,
    "access_log": False,
    "lifespan": "off",
    "server_header": False,
    "timeout_graceful_shutdown": 3,
}


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has one owner of signals, and that is the command line."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ServerError(
            f"the API cannot listen on {host}:{port} ({error.strerror or error}); "
            "stop what uses that port, or set EMSD_API_PORT"
        ) from error
    with listener:
        yield listener


async def _serve(config: uvicorn.Config, listener: socket.socket) -> None:
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="api-server")
    try:
        await asyncio.shield(task)
    finally:
        # uvicorn stops in order only when asked; a cancelled serve() would leave its connections open.
        server.should_exit = True
        await task


def _where(connection: Connection) -> str:
    host, port = getattr(connection, "host", None), getattr(connection, "port", None)
    return f"{connection.kind} {host}:{port}" if host else connection.kind


async def run_service(settings: Settings, loaded: LoadedPlant, database_url: str) -> None:
    """Run the service until cancelled; an error that a person must act on leaves as itself, not in a group.

    Raises:
        EmsdError: see `Service.run`.
    """
    try:
        await Service(settings, loaded, database_url).run()
    except* EmsdError as group:
        raise next(_leaves(group)) from None


def _leaves(group: BaseExceptionGroup[EmsdError]) -> Iterator[EmsdError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
