"""`emsd simulate run`: stand in for every meter of a plant until stopped, and say what really flowed meanwhile.

Exit codes: 0 stopped as asked; 1 an address is in use; 2 the description is wrong or cannot be simulated.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from emsd.cli.signals import stop_on_signals
from emsd.cli.simulate.address import TOKEN_VARIABLE, Address, left_behind
from emsd.errors import ConfigurationError, ServerError, SettingsError

if TYPE_CHECKING:
    from emsd.plant.loader import LoadedPlant
    from simulator import Simulator
    from simulator.clock import FastClock

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
    faults: Annotated[
        Path | None, typer.Option(help="Faults by the clock and by chance, and personalities (YAML).")
    ] = None,
    scenarios: Annotated[
        Path | None, typer.Option(help="What changes in the plant, or goes wrong with it (YAML); docs/scenarios.md.")
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="The broker that is really there; the simulator listens where the plant has it, and can let it fail.",
        ),
    ] = None,
    control_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port for `emsd simulate fault` and others; 0 takes a free one.")
    ] = 0,
    control_host: Annotated[
        str, typer.Option(help="Address for it; any but a loopback address needs EMSD_SIMULATOR_TOKEN.")
    ] = "127.0.0.1",
    speed: Annotated[float, typer.Option(min=1, max=1000, help="How fast the devices' clock runs; see --from.")] = 1.0,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Where their clock begins, local to the site.")
    ] = None,
    control: Annotated[
        bool, typer.Option("--control/--no-control", help="Whether faults can be added while it runs.")
    ] = True,
) -> None:
    """Stand in for every meter of a plant: Modbus and MQTT devices with known true energy."""
    from emsd.collector import wall_clock_us
    from emsd.logs import configure_logging
    from emsd.plant.loader import load_plant
    from simulator import Simulator, read_schedule
    from simulator.scenario_file import load_scenarios

    configure_logging(level="warning")
    try:
        loaded = load_plant(plant, environ=os.environ)
        clock = _clock(speed, from_, loaded)
        simulator = Simulator(
            loaded.plant,
            loaded.profiles,
            seed=seed,
            bind_host=bind,
            allow_remote=allow_remote,
            certificates=certificates,
            scenarios=() if scenarios is None else load_scenarios(scenarios, loaded.plant),
            schedule=None if faults is None else read_schedule(faults),
            broker=None if broker is None else _host_and_port(broker),
            now_us=clock or wall_clock_us,
        )
        asyncio.run(_serve(simulator, loaded, duration, (control_host, control_port) if control else None, clock))
    except (ConfigurationError, SettingsError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    except ServerError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


async def _serve(
    simulator: Simulator,
    loaded: LoadedPlant,
    duration_s: float | None,
    control: tuple[str, int] | None,
    clock: FastClock | None,
) -> None:
    console = Console(highlight=False)
    with stop_on_signals() as stopped:
        began_us = simulator.now_us()
        async with simulator, _running(clock), _controlled(simulator, loaded, control) as url:
            if url is not None:
                console.print(f"faults are taken at {url}: emsd simulate fault add ...", soft_wrap=True)
            for key, address in simulator.addresses.items():
                port = simulator.ports.get(key)
                where = f"{key} is served at {address}" if port is None else f"{key} listens on port {port}"
                console.print(where, soft_wrap=True)
            for key, publisher in simulator.publishers.items():
                console.print(f"{key} publishes to {publisher.address}")
            await _wait(simulator, console, stopped, duration_s)
            console.print(_truth(simulator, loaded, began_us, simulator.now_us()))


def _clock(speed: float, from_: str | None, loaded: LoadedPlant) -> FastClock | None:
    """Return the devices' clock when it is not the wall's.

    Raises:
        SettingsError: `from_` is no time.
    """
    if speed == 1.0 and from_ is None:
        return None
    from emsd.cli.simulate.instants import instant_of
    from emsd.collector import wall_clock_us
    from emsd.readings import instant_us
    from simulator.clock import FastClock

    begin_us = wall_clock_us() if from_ is None else instant_us(instant_of("--from", from_, loaded.plant.site.zone))
    return FastClock(begin_us, speed)


@asynccontextmanager
async def _running(clock: FastClock | None) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = None if clock is None else group.create_task(clock.run(), name="devices-clock")
        yield
        if task is not None:
            task.cancel()


@asynccontextmanager
async def _controlled(
    simulator: Simulator, loaded: LoadedPlant, place: tuple[str, int] | None
) -> AsyncIterator[str | None]:
    """Serve the control API of a running simulator and leave its address for other commands; no place, no API."""
    if place is None:
        yield None
        return
    from emsd.cli.simulate.kpi_truth import kpi_router
    from simulator.control import create_control, serve_control

    host, port = place
    token = os.environ.get(TOKEN_VARIABLE) or None
    async with serve_control(create_control(simulator, [kpi_router(loaded)], token=token), port, host=host) as url:
        with left_behind(Address(url, token)):
            yield url


def _host_and_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise ConfigurationError(f"--broker {text} is not like 127.0.0.1:1884; write it so")
    return host.strip("[]"), int(port)


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
