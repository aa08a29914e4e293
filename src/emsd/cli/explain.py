"""`emsd explain`: from a kWh back to the readings, as a report for a person or as JSON for a machine."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from emsd.cli.options import DatabaseUrl
from emsd.cli.outcome import one_sentence

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from emsd.api.explain_schemas import ExplainedEnergy

__all__ = ["explain"]


def explain(
    meter: Annotated[str, typer.Argument(metavar="METER", help="Key of a meter, as in the plant's configuration.")],
    database_url: DatabaseUrl,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Begin; absent: yesterday's, in the site's time zone.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="TIME", help="End; absent: a day after the begin.")] = None,
    site: Annotated[int | None, typer.Option(help="Number of the site, where the database holds several.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the API would answer.")] = False,
) -> None:
    """Tell why a meter's energy is what it is: readings, increments, events, gaps, rules, and the sum of it all.

    The figure is computed again from the raw readings, part by part, and held against the interval tables. TIME is
    2026-03-29, 2026-03-29T12:00 or has an offset; without one it is in the site's time zone. Exit code 1 when the
    figure and the tables differ.
    """
    from emsd.logs import configure_logging

    configure_logging(level="warning")  # standard output is the report's
    with one_sentence():
        explained = asyncio.run(_explained(database_url, meter, from_, to, site))
    if as_json:
        typer.echo(explained.model_dump_json(indent=2))
    else:
        _print(explained)
    if not explained.agrees:
        raise typer.Exit(1)


async def _explained(
    database_url: str, meter: str, from_: str | None, to: str | None, site: int | None
) -> ExplainedEnergy:
    from emsd.api.dependencies import Configuration
    from emsd.api.explanations import explain_energy
    from emsd.errors import SettingsError
    from emsd.store.carbon import site_numbered
    from emsd.store.plant_view import read_plant_view
    from emsd.store.pool import open_pool
    from emsd.store.rolling import read_carbon_factors

    async with open_pool(database_url, application_name="emsd-explain", max_size=2, command_timeout_s=300.0) as pool:
        plant = await read_plant_view(pool, await site_numbered(pool, site))
        if meter not in plant.meter_by_key:
            raise SettingsError(
                f"site {plant.site.site_id} has no meter {meter!r}; `emsd check` shows the plant's meters"
            )
        factors = await read_carbon_factors(pool, plant.site.carbon_region)
        begin, end = _span(from_, to, plant.zone)
        return await explain_energy(pool, Configuration(plant, tuple(factors)), "meter", meter, begin, end)


def _span(from_: str | None, to: str | None, zone: ZoneInfo) -> tuple[datetime, datetime]:
    from emsd.energy.windows import local_day_bounds
    from emsd.errors import SettingsError

    if from_ is None:
        begin = local_day_bounds(datetime.now(zone).date() - timedelta(days=1), zone)[0]
    else:
        begin = _instant("--from", from_, zone)
    day = begin.astimezone(zone)
    # A day on the clock on the wall, which has 23, 24 or 25 hours.
    end = (
        (day.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=zone)
        if to is None
        else _instant("--to", to, zone)
    )
    if end <= begin:
        raise SettingsError(f"--to {end.isoformat()} is not after --from {begin.isoformat()}")
    return begin, end


def _instant(option: str, text: str, zone: ZoneInfo) -> datetime:
    from emsd.errors import SettingsError

    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{option} {text!r} is no time; write 2026-03-29 or 2026-03-29T12:00") from error
    if instant.second or instant.microsecond:
        raise SettingsError(f"{option} {text} is no full minute; intervals begin and end with minutes")
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=zone)


def _print(explained: ExplainedEnergy) -> None:
    from rich.console import Console

    from emsd.cli.explain_view import explanation_view

    console = Console()
    # Into a file or a pipe it goes as wide as its tables are; a terminal decides for itself.
    wide = console if console.is_terminal else Console(width=120)
    wide.print(explanation_view(explained))
