"""`emsd carbon factors`: emission factors by the hour."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from emsd.cli.carbon.common import AsJson, Author, on_database, print_json, print_table
from emsd.cli.options import DatabaseUrl
from emsd.cli.outcome import one_sentence

__all__ = ["app"]

app = typer.Typer(help="Emission factors by the hour.", no_args_is_help=True)

Method: TypeAlias = Annotated[
    Literal["location", "market", "residual"], typer.Option(help="Which of the site's factors they are.")
]


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV with the columns timestamp, kg_per_kwh, source.")],
    database_url: DatabaseUrl,
    author: Author,
    region: Annotated[str, typer.Option(help="Region, as the site's carbon_region names it.")],
    method: Method = "location",
    resolution_minutes: Annotated[int, typer.Option(help="How long a row holds: 15, 30 or 60 minutes.")] = 60,
    allow_gaps: Annotated[bool, typer.Option("--allow-gaps", help="Let the yearly factor apply between rows.")] = False,
) -> None:
    """Store a list of factors as a new version; what was reported with an earlier one stays as it is.

    A timestamp carries its offset: 2026-10-25T02:00:00+02:00. Where two versions know an hour, the later one counts.
    """
    from emsd.errors import SettingsError
    from emsd.plant.factor_csv import read_factor_hours
    from emsd.store.carbon_factors import FactorFile, import_hours

    with one_sentence():
        if resolution_minutes not in {15, 30, 60}:
            raise SettingsError(f"--resolution-minutes {resolution_minutes} is not 15, 30 or 60")
        width = timedelta(minutes=resolution_minutes)
        hours = read_factor_hours(file, resolution=width, allow_gaps=allow_gaps)
        # The resolution is not in the file, but decides what it says.
        digest = hashlib.sha256(file.read_bytes() + str(resolution_minutes).encode()).hexdigest()
    content = FactorFile(region, method, file.name, digest, author, hours)
    version, is_new = on_database(database_url, lambda pool: import_hours(pool, content))
    rows = f"{len(hours):,} rows from {hours[0].begins_at.isoformat()} to {hours[-1].ends_at.isoformat()}"
    if is_new:
        typer.echo(f"stored {rows} as version {version} of {region} ({method})")
    else:
        typer.echo(f"{file.name} is version {version} of {region} ({method}) already")


@app.command("withdraw")
def withdraw(
    version: Annotated[int, typer.Argument(help="Version, as `list` shows it.")],
    database_url: DatabaseUrl,
    author: Author,
    region: Annotated[str, typer.Option(help="Region of the import.")],
    note: Annotated[str, typer.Option(help="Why.")],
    method: Method = "location",
) -> None:
    """Let an import that was a mistake count for nothing; what was stated with it stays as it is."""
    from emsd.store.carbon_factors import withdraw_import

    on_database(database_url, lambda pool: withdraw_import(pool, region, method, version, author=author, note=note))
    typer.echo(f"version {version} of {region} ({method}) counts for nothing any more")


@app.command("list")
def list_all(database_url: DatabaseUrl, as_json: AsJson = False) -> None:
    """Show every import: region, method, version, hours, source file."""
    from emsd.store.carbon_factors import list_imports

    rows = on_database(database_url, list_imports)
    if as_json:
        print_json([{name: getattr(row, name) for name in row.__slots__} for row in rows])
        return
    print_table(
        ("region", "method", "version", "hours", "from", "to", "file", "author", "imported [UTC]"),
        [
            (
                row.region, row.method, f"{row.version}" + " (withdrawn)" * row.is_withdrawn,
                f"{row.hours:,}", f"{row.first_at:%Y-%m-%d %H:%M}",
                f"{row.last_at:%Y-%m-%d %H:%M}", row.file_name, row.author, f"{row.recorded_at:%Y-%m-%d %H:%M}",
            )
            for row in rows
        ],
    )  # fmt: skip
