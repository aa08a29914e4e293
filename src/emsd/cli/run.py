"""`emsd run`, `emsd collect`, `emsd serve`: the service, whole or shared between processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from emsd.cli.options import DatabaseUrl, PlantFile
from emsd.cli.outcome import one_sentence

__all__ = ["collect", "run", "run_until_stopped", "serve"]


ApiHost: TypeAlias = Annotated[
    str | None, typer.Option(envvar="EMSD_API_HOST", show_envvar=True, help="Address of the API.")
]
ApiPort: TypeAlias = Annotated[
    int | None,
    typer.Option(
        envvar="EMSD_API_PORT", show_envvar=True, min=0, max=65535, help="Port of the API; 0 takes a free one."
    ),
]


def run(
    database_url: DatabaseUrl, plant: PlantFile = Path("plant.yaml"), host: ApiHost = None, port: ApiPort = None
) -> None:
    """Collect, store, account, alarm and serve, until stopped by Ctrl-C or SIGTERM.

    A database or device that is away is waited for; GET /readyz says which. A changed plant description is taken up
    while it runs, at once on SIGHUP. Every other setting is an environment variable EMSD_...; docs/deploy.md lists
    them.
    """
    _run("run", database_url, plant, host, port)


def collect(
    database_url: DatabaseUrl,
    plant: PlantFile = Path("plant.yaml"),
    shard: Annotated[
        str, typer.Option(envvar="EMSD_SHARD", show_envvar=True, help="i/n: part i of n of the plant's connections.")
    ] = "1/1",
    host: ApiHost = None,
    port: ApiPort = None,
) -> None:
    """Collect only: devices to database, with the alarms of the meters that are collected here.

    Start n of these with --shard 1/n to n/n to share a plant's connections between processes or machines; each
    connection is collected by one of them. Accounting, notifications and the figures come from `emsd serve`. The API of
    this process has its live values, health and metrics.

    Example: emsd collect --shard 2/4 --port 8002
    """
    _run("collect", database_url, plant, host, port, shard)


def serve(
    database_url: DatabaseUrl, plant: PlantFile = Path("plant.yaml"), host: ApiHost = None, port: ApiPort = None
) -> None:
    """Serve only: API, intervals and notifications from what `emsd collect` stores; no device is touched.

    Several may run: one of them accounts and notifies, the others stand by, and all answer.
    """
    _run("serve", database_url, plant, host, port)


def _run(role: str, database_url: str, plant: Path, host: str | None, port: int | None, shard: str = "1/1") -> None:
    from emsd.alarms.oncall import OnCall
    from emsd.logs import configure_logging
    from emsd.plant.loader import load_plant
    from emsd.service import Role, Service, Shard, run_service
    from emsd.settings import load_settings

    with one_sentence():
        settings = load_settings()
        given = {"api_host": host, "api_port": port}
        settings = settings.model_copy(update={name: value for name, value in given.items() if value is not None})
        configure_logging(level=settings.log_level, style=settings.log_format)
        loaded = load_plant(plant, environ=os.environ)
        for warning in loaded.warnings:
            typer.echo(f"warning: {warning}", err=True)
        OnCall(loaded.plant.notification_targets)  # a URL that Apprise does not know is found before anything starts
        service = Service(settings, loaded, database_url, role=Role(role), shard=Shard.parse(shard))
        run_until_stopped(run_service(service), on_hangup=service.reload)


def run_until_stopped(work: Coroutine[Any, Any, None], *, on_hangup: Callable[[], None] | None = None) -> None:
    """Run `work` on the fastest event loop there is; SIGINT and SIGTERM cancel it, which is its normal end.

    SIGHUP calls `on_hangup`.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_cancelled_by_signals(work, on_hangup))


async def _cancelled_by_signals(work: Coroutine[Any, Any, None], on_hangup: Callable[[], None] | None) -> None:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    if on_hangup is not None:
        loop.add_signal_handler(signal.SIGHUP, on_hangup)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        if not task.cancelled():
            raise


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # it is not made for every platform
        return asyncio.new_event_loop
    return uvloop.new_event_loop
