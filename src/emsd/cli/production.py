"""`emsd production`: import and list counts of production."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from emsd.cli.options import DatabaseUrl
from emsd.cli.outcome import one_sentence

if TYPE_CHECKING:
    from emsd.store.pool import Pool
    from emsd.store.production_counts import CountRow

__all__ = ["app"]

app = typer.Typer(help="Counts of production.", no_args_is_help=True)

Result = TypeVar("Result")
_DEFAULT_DAYS = 31
_MOST_SHOWN = 10_000


@app.command("import")
def import_counts(
    file: Annotated[Path, typer.Argument(help="CSV with the columns external_id, product, from, to, units, ...")],
    database_url: DatabaseUrl,
    *,
    site: Annotated[int, typer.Option(help="Number of the site.")] = 1,
    author: Annotated[str | None, typer.Option(help="Who imports; absent: the user's name.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the file.")] = False,
) -> None:
    """Write the counts of a CSV file, all or none; importing it again changes nothing.

    Columns: external_id, product, from, to, units; also stage, good_units, withdrawn, note. Times are ISO 8601 with
    their offset. A row with a known external_id and other content corrects it.
    """
    from emsd.plant.production_csv import read_counts_csv
    from emsd.store.production_counts import NewCount, add_counts

    with one_sentence():
        counts = [NewCount(**row) for row in read_counts_csv(file)]
    if dry_run:
        typer.echo(f"{file}: {len(counts)} counts, nothing written")
        return
    who = author or os.environ.get("USER") or "import"
    written = _with_pool(database_url, lambda pool: add_counts(pool, site, counts, author=who))
    typer.echo(f"{written.added} added, {written.corrected} corrected, {written.unchanged} known already")


@app.command("list")
def list_all(
    database_url: DatabaseUrl,
    *,
    site: Annotated[int, typer.Option(help="Number of the site.")] = 1,
    days: Annotated[int, typer.Option(min=1, max=4000, help="How many days back.")] = _DEFAULT_DAYS,
    every_version: Annotated[
        bool, typer.Option("--every-version", help="Also what was superseded or withdrawn.")
    ] = False,
) -> None:
    """Show the counts of the last days."""
    from emsd.store.production_counts import list_counts

    now = datetime.now(UTC)
    begin = now - timedelta(days=days)
    rows = _with_pool(
        database_url,
        lambda pool: list_counts(pool, site, begin, now, every_version=every_version, limit=_MOST_SHOWN + 1),
    )
    _show(rows[:_MOST_SHOWN])
    if len(rows) > _MOST_SHOWN:
        typer.echo(f"there are more than these {_MOST_SHOWN:,}; ask for fewer --days", err=True)


def _show(rows: list[CountRow]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("external_id", "version", "product", "stage", "from", "to", "units", "good", "author", "note")
    for row in rows:
        state = " (withdrawn)" if row.withdrawn else ""
        table.add_row(
            row.external_id,
            f"{row.version}{state}",
            row.product,
            row.stage or "whole line",
            f"{row.from_time:%Y-%m-%d %H:%M} UTC",
            f"{row.to_time:%Y-%m-%d %H:%M} UTC",
            f"{row.units:g}",
            "" if row.good_units is None else f"{row.good_units:g}",
            row.author,
            row.note,
        )
    Console().print(table)


def _with_pool(database_url: str, action: Callable[[Pool], Awaitable[Result]]) -> Result:
    """Run one action on the database; what goes wrong is one sentence and an exit code."""
    from emsd.logs import configure_logging
    from emsd.store.pool import open_pool

    configure_logging(level="warning")  # standard output is the answer's

    async def run() -> Result:
        async with open_pool(database_url, application_name="emsd-production", max_size=1) as pool:
            return await action(pool)

    with one_sentence():
        return asyncio.run(run())
