"""`emsd simulate run`: stand in for every meter of a plant until stopped, and say what really flowed meanwhile.

Exit codes: 0 stopped as asked; 1 an address is in use; 2 the description is wrong or cannot be simulated.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from emsd.cli.signals import stop_on_signals
from emsd.errors import ConfigurationError, ServerError

if TYPE_CHECKING:
    from emsd.plant.loader import LoadedPlant
    from simulator import Simulator

__all__ = ["simulate"]

_STATUS_EVERY_S = 1.0


def simulate(
    plant: Annotated[Path, typer.Argument(help="The plant's description.", show_default=True)] = Path("plant.yaml"),
    seed: Annotated[int, typer.Option(help="Another number, other loads, weather and counters.")] = 1,
    duration: Annotated[float | None, typer.Option(min=0, help="Stop by itself after this many seconds.")] = None,
    bind: Annotated[str | None, typer.Option(help="Listen on this address instead of each connection's host.")] = None,
    allow_remote: Annotated[
        bool,
        typer.Option("--allow-remote", help="Let other machines reach the simulated devices; they ask no password."),
    ] = False,
    certificates: Annotated[
        Path | None,
        typer.Option(help="Folder with the certificates of TLS devices; those that are missing are made and kept."),
    ] = None,
) -> None:
    """Stand in for every meter of a plant: Modbus and MQTT devices with known true energy."""
    from emsd.collector import wall_clock_us
    from emsd.logs import configure_logging
    from emsd.plant.loader import load_plant
    from simulator import Simulator

    configure_logging(level="warning")
    try:
        loaded = load_plant(plant, environ=os.environ)
        simulator = Simulator(
            loaded.plant,
            loaded.profiles,
            seed=seed,
            bind_host=bind,
            allow_remote=allow_remote,
            certificates=certificates,
            now_us=wall_clock_us,
        )
        asyncio.run(_serve(simulator, loaded, duration))
    except ConfigurationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    except ServerError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


async def _serve(simulator: Simulator, loaded: LoadedPlant, duration_s: float | None) -> None:
    from emsd.collector import wall_clock_us

    console = Console(highlight=False)
    with stop_on_signals() as stopped:
        began_us = wall_clock_us()
        async with simulator:
            for key, address in simulator.addresses.items():
                port = simulator.ports.get(key)
                where = f"{key} is served at {address}" if port is None else f"{key} listens on port {port}"
                console.print(where, soft_wrap=True)
            for key, publisher in simulator.publishers.items():
                console.print(f"{key} publishes to {publisher.address}")
            await _wait(simulator, console, stopped, duration_s)
            console.print(_truth(simulator, loaded, began_us, wall_clock_us()))


async def _wait(simulator: Simulator, console: Console, stopped: asyncio.Event, duration_s: float | None) -> None:
    with console.status("starting") as status, contextlib.suppress(TimeoutError):
        async with asyncio.timeout(duration_s):
            while not stopped.is_set():
                status.update(_line(simulator))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), _STATUS_EVERY_S)


def _line(simulator: Simulator) -> str:
    requests, published, lost = (
        sum(each.values()) for each in (simulator.requests, simulator.published, simulator.lost)
    )
    return f"{requests:,} requests answered, {published:,} messages published, {lost:,} lost; Ctrl-C stops"


def _truth(simulator: Simulator, loaded: LoadedPlant, from_us: int, to_us: int) -> Table:
    table = Table("Meter", title=f"What really flowed in {(to_us - from_us) / 1e6:,.1f} s", title_justify="left")
    for name in ("Import kWh", "Export kWh", "Requests", "Messages"):
        table.add_column(name, justify="right")
    requests, published = simulator.requests, simulator.published
    for meter in loaded.plant.meters:
        energy = ("-", "-")
        if loaded.measures_energy(meter):
            true = simulator.truth.true_energy_kwh(meter.key, from_us, to_us)
            energy = (f"{true.import_kwh:,.3f}", f"{true.export_kwh:,.3f}")
        table.add_row(meter.key, *energy, str(requests.get(meter.key, "-")), str(published.get(meter.key, "-")))
    return table
