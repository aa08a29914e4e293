"""What the commands of the carbon ledger share: the site, days, tables."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, TypeVar
from zoneinfo import ZoneInfo

import typer

from emsd.cli.outcome import one_sentence
from emsd.errors import SettingsError

if TYPE_CHECKING:
    from emsd.store.pool import Pool

__all__ = [
    "AsJson",
    "Author",
    "Site",
    "day_of",
    "instant_of",
    "on_database",
    "on_site",
    "period_of",
    "positive",
    "print_json",
    "print_table",
    "zone_of",
]

Site: TypeAlias = Annotated[int | None, typer.Option("--site", help="Number of the site, where there are several.")]
Author: TypeAlias = Annotated[str, typer.Option(help="Who enters this.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print for machines.")]
Result = TypeVar("Result")

_YEAR: Final = re.compile(r"\d{4}")
_MONTH: Final = re.compile(r"(\d{4})-(\d{2})")


def on_database(database_url: str, action: Callable[[Pool], Awaitable[Result]]) -> Result:
    """Run one action on the database; what goes wrong is one sentence and an exit code."""
    from emsd.logs import configure_logging
    from emsd.store.pool import open_pool

    configure_logging(level="warning")

    async def run() -> Result:
        async with open_pool(database_url, application_name="emsd-carbon", max_size=2) as pool:
            return await action(pool)

    with one_sentence():
        return asyncio.run(run())


def on_site(database_url: str, site: int | None, action: Callable[[Pool, int], Awaitable[Result]]) -> Result:
    """Run one action on the database for a site, which need not be named where it is the only one."""
    from emsd.store.carbon import site_numbered

    async def run(pool: Pool) -> Result:
        return await action(pool, await site_numbered(pool, site))

    return on_database(database_url, run)


async def zone_of(pool: Pool, site_id: int) -> ZoneInfo:
    """Return the time zone of a site.

    Raises:
        StoreError: the database knows no such site.
        StoreUnavailable: the database cannot be reached now.
    """
    from emsd.store.plant_view import read_plant_view

    return (await read_plant_view(pool, site_id)).zone


def day_of(text: str, option: str) -> date:
    """Return a day such as 2026-01-31.

    Raises:
        SettingsError: it is none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{option} {text!r} is no day; write one such as 2026-01-31") from None


def period_of(text: str) -> tuple[date, date]:
    """Return the first day of a year, a month or a day, and the first day after it.

    Raises:
        SettingsError: it is none of the three.
    """
    try:
        if _YEAR.fullmatch(text):
            return date(int(text), 1, 1), date(int(text) + 1, 1, 1)
        if month := _MONTH.fullmatch(text):
            first = date(int(month[1]), int(month[2]), 1)
            return first, date(first.year + first.month // 12, first.month % 12 + 1, 1)
    except ValueError:
        pass
    raise SettingsError(f"{text!r} is no period; write a year such as 2026, or a month such as 2026-03")


def instant_of(text: str, option: str, zone: ZoneInfo) -> datetime:
    """Return a local day as the instant at which it begins, or an instant with its offset.

    Raises:
        SettingsError: it is neither.
    """
    from emsd.energy.windows import local_day_bounds

    try:
        return local_day_bounds(date.fromisoformat(text), zone)[0]
    except ValueError:
        pass
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise SettingsError(f"{option} {text!r} is neither a day nor an instant with its offset")
    return instant


def positive(text: str, option: str) -> Decimal:
    """Return an exact number of at least 0.

    Raises:
        SettingsError: it is none.
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal(-1)
    if not number.is_finite() or number < 0:
        raise SettingsError(f"{option} {text!r} is not a number of at least 0")
    return number


def print_json(content: Any) -> None:
    """Print for machines."""
    typer.echo(json.dumps(content, indent=1, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> None:
    """Print for people; brackets are brackets, whoever wrote them."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*map(escape, columns), title=title, title_justify="left")
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)
