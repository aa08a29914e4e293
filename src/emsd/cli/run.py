"""`emsd run`: the service."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from emsd.cli.options import DatabaseUrl, PlantFile
from emsd.cli.outcome import one_sentence

__all__ = ["run", "run_until_stopped"]


def run(
    database_url: DatabaseUrl,
    plant: PlantFile = Path("plant.yaml"),
    host: Annotated[
        str | None, typer.Option(envvar="EMSD_API_HOST", show_envvar=True, help="Address of the API.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            envvar="EMSD_API_PORT", show_envvar=True, min=0, max=65535, help="Port of the API; 0 takes a free one."
        ),
    ] = None,
) -> None:
    """Collect, store, account, alarm and serve, until stopped by Ctrl-C or SIGTERM.

    A database or device that is away is waited for; GET /readyz says which. Every other setting is an environment
    variable EMSD_...; docs/deploy.md lists them.
    """
    from emsd.alarms.oncall import OnCall
    from emsd.logs import configure_logging
    from emsd.plant.loader import load_plant
    from emsd.service import run_service
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
        run_until_stopped(run_service(settings, loaded, database_url))


def run_until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` on the fastest event loop there is; SIGINT and SIGTERM cancel it, which is its normal end."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_cancelled_by_signals(work))


async def _cancelled_by_signals(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
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
