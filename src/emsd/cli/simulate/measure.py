"""`emsd simulate measure`: devices and the whole chain in one process, by a clock that runs fast."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emsd.cli.options import DatabaseUrl
from emsd.cli.outcome import one_sentence
from emsd.cli.simulate.instants import instant_of
from emsd.errors import EmsdError

if TYPE_CHECKING:
    from emsd.cli.simulate.chain import Chain
    from emsd.cli.simulate.comparing import Compared, Fault
    from emsd.plant.loader import LoadedPlant
    from simulator import Schedule
    from simulator.clock import FastClock

__all__ = ["measure"]

_EDGE = timedelta(minutes=2)
"""At begin and end of what is compared: devices are met, and the last minute is complete."""
_LOOK_EVERY_S = 0.2
_STATEMENT_TIMEOUT_S = 60.0


def measure(
    database_url: DatabaseUrl,
    plant: Annotated[Path, typer.Argument(help="The plant's description.", show_default=True)] = Path("plant.yaml"),
    *,
    hours: Annotated[float, typer.Option(min=0.1, max=8784, help="How many hours of the plant's time.")] = 1.0,
    speed: Annotated[float, typer.Option(min=1, max=1000, help="How fast its clock runs, at most.")] = 60.0,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it ends, local to the site; absent: now.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another number, other loads, weather and counters.")] = 1,
    faults: Annotated[Path | None, typer.Option(help="Faults by the clock and by chance (YAML).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The comparison as JSON.")] = False,
) -> None:
    """Let a simulated plant be measured by the real chain, faster than time, and compare it with what flowed.

    For example `emsd simulate measure config/plant.example.yaml --hours 24 --speed 60`, which takes 24 minutes.

    Collectors, ingest, accounting and API run in one process with the devices and go by their clock; no alarms are
    raised and nothing is derived. Exit code 1: a meter is wrong, as `emsd simulate verify` says.
    """
    import json

    from emsd.cli.simulate.comparing import Verdict
    from emsd.cli.simulate.tables import document, show
    from emsd.logs import configure_logging

    configure_logging(level="error", style="console")
    with one_sentence():
        from emsd.plant.loader import load_plant
        from simulator import read_schedule

        loaded = load_plant(plant, environ=os.environ)
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        end = now if until is None else instant_of("--until", until, loaded.plant.site.zone)
        span = (end - timedelta(hours=hours), end)
        schedule = None if faults is None else read_schedule(faults)
        try:
            rows, found = asyncio.run(_run(database_url, loaded, span, speed, seed, schedule))
        except* EmsdError as group:
            raise _first(group) from None
    compared = (_full_minute(span[0] + _EDGE), _full_minute(span[1] - _EDGE / 2))
    if as_json:
        typer.echo(json.dumps(document(rows, found, *compared), indent=2))
    else:
        show(rows, found, *compared)
    if any(row.verdict is Verdict.WRONG for row in rows):
        raise typer.Exit(1)


async def _run(
    database_url: str,
    loaded: LoadedPlant,
    span: tuple[datetime, datetime],
    speed: float,
    seed: int,
    schedule: Schedule | None,
) -> tuple[list[Compared], list[Fault]]:
    from emsd.cli.simulate.chain import run_chain
    from emsd.readings import instant_us
    from emsd.store.migrations import migrate
    from emsd.store.pool import open_pool
    from simulator import Simulator
    from simulator.clock import FastClock

    begin_us, end_us = map(instant_us, span)

    def devices(clock: FastClock) -> Simulator:
        return Simulator(
            loaded.plant, loaded.profiles, seed=seed, free_ports=True, refresh_s=0.0, schedule=schedule, now_us=clock
        )

    await migrate(database_url)
    clock = FastClock(begin_us, speed, until_us=end_us)
    async with (
        open_pool(
            database_url, application_name="emsd-simulate-measure", max_size=8, command_timeout_s=_STATEMENT_TIMEOUT_S
        ) as pool,
        run_chain(pool, loaded, devices, clock) as chain,
    ):
        await _show_progress(chain, begin_us, end_us)
        await chain.finish()
        return await _compared(chain, _full_minute(span[0] + _EDGE), _full_minute(span[1] - _EDGE / 2))


async def _show_progress(chain: Chain, begin_us: int, end_us: int) -> None:
    """Show how far the clock has come until it stands at its end."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("Plant's time", total=end_us - begin_us)
        while not chain.clock.over.is_set():
            shown.update(task, completed=chain.clock() - begin_us)
            await asyncio.sleep(_LOOK_EVERY_S)


async def _compared(chain: Chain, begin: datetime, end: datetime) -> tuple[list[Compared], list[Fault]]:
    """Compare through both APIs, as anybody does from outside."""
    from emsd.cli.simulate.address import Address
    from emsd.cli.simulate.comparing import compare
    from simulator.control import create_control, serve_control

    control = create_control(chain.simulator)
    async with serve_control(control) as truth, chain.serve_api() as api:
        return await asyncio.to_thread(compare, Address(truth), api, begin, end)


def _first(error: BaseException) -> BaseException:
    """Return the first error of a group of groups, for its sentence."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _full_minute(instant: datetime) -> datetime:
    return instant.replace(second=0, microsecond=0)
