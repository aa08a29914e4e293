"""`emsd tariff`: look at a tariff as the plant describes it, and at what a month has cost."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emsd.cli.options import DatabaseUrl
from emsd.cli.outcome import one_sentence
from emsd.errors import SettingsError

if TYPE_CHECKING:
    from emsd.store.cost import WindowCost
    from emsd.store.plant_view import PlantView

__all__ = ["app"]

app = typer.Typer(help="Tariffs: their calendar, and what energy cost.", no_args_is_help=True)

_WIDTH_OF_A_FILE = 160


@app.command("show")
def show(
    path: Annotated[
        Path, typer.Argument(envvar="EMSD_PLANT", show_envvar=True, help="The plant's description.")
    ] = Path("plant.yaml"),
    *,
    day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="A local day: its periods from hour to hour.")
    ] = None,
    year: Annotated[
        int | None, typer.Option(min=2000, max=2099, help="A year as a calendar; absent: this one.")
    ] = None,
) -> None:
    """Show which prices hold when, coloured: of a year which days are alike, of a day its periods.

    For example `emsd tariff show plant.yaml --day 2026-10-25`, a day of 25 hours in most of Europe.
    """
    from rich.console import Console

    from emsd.cli.tariff_view import day_view, year_view
    from emsd.plant.loader import load_plant

    with one_sentence():
        plant = load_plant(path, environ=os.environ).plant
        if not plant.tariffs:
            raise SettingsError(f"{path} describes no tariff; add one under tariffs, as docs/tariff.md shows")
        console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)
        if day is not None:
            console.print(day_view(plant.tariffs, day.date(), plant.site.zone))
        else:
            shown = year or datetime.now(UTC).astimezone(plant.site.zone).year
            console.print(year_view(plant.tariffs, shown, plant.site.zone))


@app.command("cost")
def cost(
    database_url: DatabaseUrl,
    month: Annotated[str, typer.Option(help="A month such as 2026-10.")],
    site: Annotated[int, typer.Option(min=1, max=2000, help="Number of the site.")] = 1,
) -> None:
    """Show what the site's energy cost in a month: by time-of-use period, and the whole bill.

    The same figures as `GET /api/v1/cost?per=month`.
    """
    from rich.console import Console

    from emsd.cli.tariff_view import bill_view
    from emsd.logs import configure_logging

    configure_logging(level="warning")
    with one_sentence():
        first = _first_of(month)
        plant, currency, found = asyncio.run(_cost(database_url, site, first))
        console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)
        console.print(bill_view(plant, currency, found))


def _first_of(month: str) -> date:
    try:
        return datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        raise SettingsError(f"--month {month!r} is not a month such as 2026-10") from None


async def _cost(database_url: str, site: int, first: date) -> tuple[PlantView, str, WindowCost]:
    from datetime import timedelta

    from emsd.energy.local_windows import local_windows
    from emsd.energy.windows import local_day_bounds
    from emsd.store.cost import read_month_costs
    from emsd.store.plant_view import read_plant_view
    from emsd.store.pool import open_pool
    from emsd.store.reads import snapshot
    from emsd.store.scopes import meters_of_scope
    from emsd.store.tariff import read_tariffs

    async with open_pool(database_url, application_name="emsd-tariff", max_size=2) as pool:
        plant = await read_plant_view(pool, site)
        begin = local_day_bounds(first, plant.zone)[0]
        end = local_day_bounds((first + timedelta(days=31)).replace(day=1), plant.zone)[0]
        windows = local_windows(begin, end, "month", plant.zone)
        async with snapshot(pool, "add up the cost") as connection:
            (found,) = await read_month_costs(connection, plant, meters_of_scope(plant, "site", None), windows)
            tariffs = await read_tariffs(connection, site)
    return plant, tariffs[-1].currency if tariffs else "", found
