"""The command `emsd demo` and its order of events."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.live import Live

from emsd.cli.outcome import one_sentence
from emsd.cli.signals import stop_on_signals

if TYPE_CHECKING:
    from emsd.cli.demo.child import ServiceProcess
    from emsd.cli.demo.verdict import Evidence
    from emsd.cli.demo.watch import Screen
    from emsd.cli.demo.webhook import Webhook
    from emsd.cli.demo.world import DemoPlant
    from emsd.servers import PrivateMosquitto, PrivatePostgres
    from emsd.store.pool import Pool

__all__ = ["demo"]

_EXAMPLE: Final = Path("config/plant.example.yaml")
_WIDTH_OF_A_FILE: Final = 120
_LOOK_EVERY_S: Final = 1.0
_LINE_EVERY_S: Final = 5.0
_SETTLE_WITHIN_S: Final = 15.0


def demo(
    duration: Annotated[float | None, typer.Option(min=10, help="Stop by itself after this many seconds.")] = None,
    seed: Annotated[int, typer.Option(help="Another number, other loads, weather and counters.")] = 1,
    plant: Annotated[Path, typer.Option(help="The plant to simulate.")] = _EXAMPLE,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; if it is taken, a free one.")] = 8000,
) -> None:
    """Measure a simulated factory with the real chain: Modbus TCP and MQTT, TimescaleDB, kWh, CO2, alarms.

    Starts a private TimescaleDB and Mosquitto (fetched once), a simulator for every meter of the plant, and the service
    as a process of its own. When it stops, every meter is compared with what the simulator knows to be true. Exit code
    1: an error was larger than 0.5 % plus one count of the meter's counter, or a reading was lost.
    """
    from emsd.logs import configure_logging

    configure_logging(level="error", style="console")
    with one_sentence():
        console = Console(highlight=False)
        if not console.is_terminal:
            console = Console(highlight=False, width=_WIDTH_OF_A_FILE)
        right = asyncio.run(_Demo(console, plant, seed, port).run(duration))
    raise typer.Exit(0 if right else 1)


@dataclass(slots=True)
class _Stage:
    """What stands once the servers run and a day of history is stored."""

    folder: Path
    postgres: PrivatePostgres
    broker: PrivateMosquitto
    pool: Pool
    oncall: Webhook
    world: DemoPlant
    meter_ids: Mapping[str, int]


@dataclass(slots=True)
class _Demo:
    """One run of the demo."""

    console: Console
    plant_path: Path
    seed: int
    preferred_port: int

    async def run(self, duration_s: float | None) -> bool:
        """Carry out the demo; True when every figure was right and nothing was lost."""
        from emsd.cli.demo.webhook import webhook
        from emsd.cli.demo.world import load_demo_plant
        from emsd.plant.loader import load_plant
        from emsd.servers import temporary_folder
        from emsd.store.pool import open_pool

        began_s = time.monotonic()
        with temporary_folder("emsd-demo-") as folder, webhook() as oncall:
            load_plant(self.plant_path, environ=os.environ)  # whatever is wrong with it shows before anything starts
            async with self._servers(folder) as (postgres, broker), open_pool(postgres.url, max_size=2) as pool:
                self._say(began_s, "TimescaleDB and Mosquitto run")
                world = load_demo_plant(self.plant_path, oncall_url=oncall.url, now=datetime.now(UTC))
                world = world.at_broker(broker.port)
                meter_ids, readings = await self._history(pool, postgres.url, world)
                self._say(began_s, f"a day of history is stored and accounted for: {readings:,} readings")
                stage = _Stage(folder, postgres, broker, pool, oncall, world, meter_ids)
                return await self._live(stage, duration_s)

    def _say(self, began_s: float, what: str) -> None:
        self.console.print(f"[dim]{time.monotonic() - began_s:6.1f} s[/dim]  {what}")

    @asynccontextmanager
    async def _servers(self, folder: Path) -> AsyncIterator[tuple[PrivatePostgres, PrivateMosquitto]]:
        """Run both private servers, with progress when they have to be fetched first."""
        from emsd.cli.servers import progress_bar
        from emsd.servers import PrivateMosquitto, PrivatePostgres

        async with AsyncExitStack() as stack:
            with progress_bar(self.console) as report:
                postgres = PrivatePostgres(folder / "timescaledb", progress=report)
                broker = PrivateMosquitto(folder / "mosquitto", progress=report)
                for server in (postgres, broker):
                    stack.push_async_callback(asyncio.to_thread, server.stop)
                    await asyncio.to_thread(server.start)
            yield postgres, broker

    async def _history(self, pool: Pool, database_url: str, world: DemoPlant) -> tuple[dict[str, int], int]:
        from emsd.cli.demo.world import load_history, prepare_database
        from emsd.cli.servers import progress_bar

        meter_ids = await prepare_database(database_url, pool, world.loaded)
        with progress_bar(self.console) as report:
            readings = await load_history(pool, world, meter_ids, seed=self.seed, report=report)
        return meter_ids, readings

    async def _live(self, stage: _Stage, duration_s: float | None) -> bool:
        """Let devices and service run, then let the devices fall silent, the service finish, and judge."""
        from emsd.cli.demo.child import service_process
        from emsd.cli.demo.verdict import Evidence, settle
        from emsd.cli.demo.world import open_door, write_plant
        from emsd.collector import wall_clock_us
        from emsd.readings import to_datetime
        from simulator import Simulator

        plant = stage.world.loaded.plant
        began_us = wall_clock_us()
        subscribed = asyncio.Event()
        simulator = Simulator(
            plant,
            stage.world.loaded.profiles,
            seed=self.seed,
            anchor=stage.world.anchor,
            disturbances=open_door(plant, began_us),
            free_ports=True,
            publish_when=subscribed,
        )
        plant_file = stage.folder / "plant.yaml"
        log_file = stage.folder / "service.log"
        environment, api = self._environment(stage, plant_file)
        async with AsyncExitStack() as devices:
            await devices.enter_async_context(simulator)
            write_plant(simulator.served_plant, stage.world.loaded, plant_file)
            async with service_process(environment, log_file) as service:
                screen = await self._watch(stage, api, service, log_file, subscribed, duration_s)
                await devices.aclose()
                evidence = Evidence(stage.pool, stage.world, stage.meter_ids, simulator, to_datetime(began_us))
                await settle(evidence, within_s=_SETTLE_WITHIN_S)
        return await self._judge(evidence, stage, service, screen, log_file)

    def _environment(self, stage: _Stage, plant_file: Path) -> tuple[dict[str, str], str]:
        """Return the service's environment and the address of its API."""
        from emsd.cli.demo.world import ONCALL_VARIABLE, free_port

        port = free_port(self.preferred_port)
        environment = {
            **os.environ,
            "EMSD_DATABASE_URL": stage.postgres.url,
            "EMSD_PLANT": str(plant_file),
            "EMSD_SPOOL_FOLDER": str(plant_file.parent / "spool"),
            "EMSD_API_HOST": "127.0.0.1",
            "EMSD_API_PORT": str(port),
            "EMSD_LOG_FORMAT": "json",
            ONCALL_VARIABLE: stage.oncall.url,
        }
        return environment, f"http://127.0.0.1:{port}"

    async def _watch(
        self,
        stage: _Stage,
        api: str,
        service: ServiceProcess,
        log_file: Path,
        subscribed: asyncio.Event,
        duration_s: float | None,
    ) -> Screen:
        """Show what the API says until the time is over or somebody presses Ctrl-C.

        `subscribed` is set as soon as the service is ready: from then on no message may be missed.
        """
        import httpx

        from emsd.cli.demo.watch import Acknowledger, Screen, is_ready, read_figures
        from emsd.store.tokens import create_token

        screen = Screen(
            {
                "rolling kWh and CO2": f"{api}/api/v1/energy/rolling",
                "live stream": f"curl -N {api}/api/v1/live",
                "metrics": f"{api}/metrics",
                "database": f"{stage.postgres.psql} {stage.postgres.url}",
                "MQTT": f"{stage.broker.sub} -p {stage.broker.port} -t 'emsd/#' -v",
                "service log": str(log_file),
            }
        )
        for line in screen.address_lines():
            self.console.print(line, soft_wrap=True)
        began_s = time.monotonic()
        line_due_s = 0.0
        async with httpx.AsyncClient(base_url=api, timeout=3.0) as client:
            on_call = Acknowledger(client, await create_token(stage.pool, "demo"))
            with stop_on_signals() as stopped, _live_display(self.console) as display:
                while not stopped.is_set():
                    elapsed_s = time.monotonic() - began_s
                    if duration_s is not None and elapsed_s >= duration_s:
                        break
                    if not subscribed.is_set() and await is_ready(client):
                        subscribed.set()
                    figures = await read_figures(client)
                    screen.take(figures)
                    await on_call.look(figures.alarms)
                    if display is not None:
                        display.update(screen.render(elapsed_s, _status(service, stage.oncall)))
                    elif elapsed_s >= line_due_s:
                        line_due_s = elapsed_s + _LINE_EVERY_S
                        self.console.print(screen.line(elapsed_s), soft_wrap=True)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stopped.wait(), _LOOK_EVERY_S)
        self.console.print(screen.render(time.monotonic() - began_s, _status(service, stage.oncall)))
        return screen

    async def _judge(
        self, evidence: Evidence, stage: _Stage, service: ServiceProcess, screen: Screen, log_file: Path
    ) -> bool:
        from emsd.cli.demo.verdict import judge, verdict_table

        verdict = await judge(evidence)
        self.console.print(verdict_table(verdict.comparisons, f"Measured against true since {verdict.since:%H:%M} UTC"))
        for name, states in screen.alarms_that_moved():
            self.console.print(f"alarm {name}: {' > '.join(states)}")
        for title in stage.oncall.titles:
            self.console.print(f"delivered to on-call: {title}")
        for sentence in verdict.sentences():
            self.console.print(sentence)
        if service.restarts:
            self.console.print(f"the service was restarted {service.restarts} times (last exit {service.last_exit})")
        if service.stopped_with != 0:
            self.console.print(
                f"[red]the service did not stop in order (exit {service.stopped_with})[/red]; its log ends:"
            )
            self.console.print(_tail(log_file), markup=False, soft_wrap=True)
        right = verdict.right and service.stopped_with == 0
        self.console.print("[green]every meter is right[/green]" if right else "[red]not everything is right[/red]")
        return right


def _status(service: ServiceProcess, oncall: Webhook) -> str:
    restarts = f", restarted {service.restarts} times" if service.restarts else ""
    return f"service pid {service.pid}{restarts}; {len(oncall.titles)} notifications delivered; Ctrl-C stops"


def _tail(log_file: Path, lines: int = 20) -> str:
    return "\n".join(log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


@contextmanager
def _live_display(console: Console) -> Iterator[Live | None]:
    """A display that redraws itself in a terminal; None elsewhere, where lines are better."""
    if not console.is_terminal:
        yield None
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield live
