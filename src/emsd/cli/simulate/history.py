"""`emsd simulate history`: what a plant would have measured, written straight into the database."""

from __future__ import annotations

import asyncio
import getpass
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from emsd.cli.options import DatabaseUrl
from emsd.cli.outcome import one_sentence
from emsd.cli.simulate.instants import instant_of
from emsd.errors import ConfigurationError

if TYPE_CHECKING:
    from emsd.accounting.history import Wish, Written
    from emsd.plant.loader import LoadedPlant
    from emsd.store.pool import Pool
    from simulator.physics.scenarios import Scenario

__all__ = ["history"]

_QUARTER = timedelta(minutes=15)
_STATEMENT_TIMEOUT_S = 300.0


def history(
    database_url: DatabaseUrl,
    plant: Annotated[Path, typer.Argument(help="The plant's description.", show_default=True)] = Path("plant.yaml"),
    *,
    days: Annotated[int, typer.Option(min=1, max=3660, help="How many days, back from the end.")] = 365,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="End, exclusive, local to the site; absent: now.")
    ] = None,
    scenarios: Annotated[
        Path | None, typer.Option(help="What changed in the plant, or went wrong with it (YAML); docs/scenarios.md.")
    ] = None,
    seed: Annotated[int, typer.Option(help="That of the simulator: another number, another history.")] = 1,
    gauges: Annotated[
        Literal["needed", "all", "none"],
        typer.Option(help="Gauges that get quarter hours: those that figures are made of, all, or none."),
    ] = "needed",
    replace: Annotated[
        Literal["nothing", "simulated", "all"],
        typer.Option(help="What may be written over: nothing, an earlier simulated history, or measured energy too."),
    ] = "nothing",
    author: Annotated[str | None, typer.Option(help="Who is named in the ledger; absent: you.")] = None,
) -> None:
    """Write quarter hours and days of energy, as accounting would have made them of a meter read every minute.

    For example `emsd simulate history config/plant.example.yaml --days 365`.

    What stands there is left alone, so calling it again writes what is missing. Every row is flagged as simulated, and
    the table simulated_history says who wrote it.
    """
    from emsd.logs import configure_logging

    configure_logging(level="warning")
    with one_sentence():
        from emsd.plant.loader import load_plant
        from simulator.scenario_file import load_scenarios

        loaded = load_plant(plant, environ=os.environ)
        end = _end(until, loaded)
        changes = () if scenarios is None else load_scenarios(scenarios, loaded.plant)
        wish_of = _wish_of(loaded, (end - timedelta(days=days), end), changes, seed, author or getpass.getuser())
        began_s = time.monotonic()
        written = asyncio.run(_run(database_url, loaded, lambda ids: wish_of(ids, replace, gauges)))
    typer.echo(_sentence(written, time.monotonic() - began_s))


def _end(until: str | None, loaded: LoadedPlant) -> datetime:
    """Return the end of the history: the last full quarter hour before now, or what is asked for.

    Raises:
        SettingsError: it is no time, or no full quarter hour.
    """
    if until is None:
        now = datetime.now(UTC)
        return now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
    return instant_of("--until", until, loaded.plant.site.zone)


def _wish_of(
    loaded: LoadedPlant, span: tuple[datetime, datetime], scenarios: Sequence[Scenario], seed: int, author: str
) -> Callable[[dict[str, int], Literal["nothing", "simulated", "all"], str], Wish]:
    from emsd.accounting.history import NEEDED_GAUGES, Wish
    from emsd.readings import instant_us
    from emsd.store.gauges import TIERED_GAUGES
    from simulator import SimulatedPlant
    from simulator.history import readable_series

    # Counters begin a day before the first sample, so that none of them is ever below its beginning.
    physics = SimulatedPlant(
        loaded.plant, loaded.profiles, seed, anchor=span[0] - timedelta(days=1), scenarios=scenarios
    )
    chosen = {"needed": NEEDED_GAUGES, "all": TIERED_GAUGES, "none": frozenset[str]()}

    def wish(meter_ids: dict[str, int], replace: Literal["nothing", "simulated", "all"], gauges: str) -> Wish:
        return Wish(
            loaded,
            meter_ids,
            instant_us(span[0]),
            instant_us(span[1]),
            shown=lambda key, times_us, wanted: readable_series(physics, key, times_us, wanted),
            seed=seed,
            author=author,
            replace=replace,
            gauges=chosen[gauges],
        )

    return wish


async def _run(database_url: str, loaded: LoadedPlant, wish_of: Callable[[dict[str, int]], Wish]) -> Written:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from emsd.accounting.history import write_history
    from emsd.store.pool import open_pool

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    async with open_pool(
        database_url, application_name="emsd-simulate-history", max_size=2, command_timeout_s=_STATEMENT_TIMEOUT_S
    ) as pool:
        meter_ids = await _meter_ids(pool, loaded)
        with Progress(
            *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
        ) as shown:
            task = shown.add_task("Simulated history", total=1.0)
            return await write_history(pool, wish_of(meter_ids), lambda share: shown.update(task, completed=share))


async def _meter_ids(pool: Pool, loaded: LoadedPlant) -> dict[str, int]:
    """Return the number of each meter; a database that knows nothing of the site yet is told of the plant.

    Raises:
        ConfigurationError: the site is there, and some meter of the plant is not.
    """
    from emsd.store.plant import load_meters, sync_plant

    site = loaded.plant.site
    known = {row.key: row.meter_id for row in await load_meters(pool, site.number)}
    if not known:
        return await sync_plant(pool, loaded.plant, loaded.profiles)
    missing = [meter.key for meter in loaded.plant.meters if meter.key not in known]
    if missing:
        raise ConfigurationError(
            f"site {site.number} in this database has no meter {', '.join(missing[:5])}"
            f"{' and others' if missing[5:] else ''}; run emsd with this plant once, or use its own database"
        )
    return {meter.key: known[meter.key] for meter in loaded.plant.meters}


def _sentence(written: Written, took_s: float) -> str:
    left = f"; {written.left_alone:,} stood there already and were left alone" if written.left_alone else ""
    return (
        f"wrote {written.quarter_hours:,} quarter hours of energy, {written.gauge_quarters:,} of gauges and "
        f"{written.asset_quarters:,} of key figures' inputs, and {written.days:,} local days, in {took_s:,.1f} s{left}"
    )
