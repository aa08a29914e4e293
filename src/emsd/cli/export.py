"""`emsd export`: readings, intervals and meter events as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from emsd.cli.exporting import Asked, Open, Wanted, known_name, write_table
from emsd.cli.options import DatabaseUrl

if TYPE_CHECKING:
    from emsd.export import TableSchema

__all__ = ["app"]

app = typer.Typer(
    help="Write readings, intervals and meter events to a file, however many there are.\n\n"
    "The file is there whole or not at all. Times without an offset are those of the site.",
    epilog="Exit codes: 0 done; 1 it could not be done; 2 what was written is wrong.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

From: TypeAlias = Annotated[
    str, typer.Option("--from", metavar="TIME", help="Begin: 2026-01-31, 2026-01-31T08:00 or with an offset.")
]
To: TypeAlias = Annotated[str | None, typer.Option("--to", metavar="TIME", help="End, exclusive; absent: now.")]
MeterKeys: TypeAlias = Annotated[
    list[str] | None, typer.Option("--meter", metavar="KEY", help="Only of this meter; repeat it for more.")
]
Output: TypeAlias = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="Where to; - is standard output.")
]
FormatName: TypeAlias = Annotated[
    str | None,
    typer.Option("--format", metavar="csv|parquet|arrow", help="absent: as the name of FILE ends, else csv."),
]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]
SiteNumber: TypeAlias = Annotated[
    int | None, typer.Option("--site", help="Number of the site, where the database has several.")
]


@app.command()
def readings(
    database_url: DatabaseUrl,
    output: Output,
    from_: From,
    quantity: Annotated[
        list[str], typer.Option("--quantity", metavar="NAME", help="A column of the file; repeat it for more.")
    ],
    *,
    to: To = None,
    meter: MeterKeys = None,
    table_format: FormatName = None,
    force: Force = False,
    site: SiteNumber = None,
) -> None:
    """Write readings as they are stored: time, meter, quality, and a column for each quantity.

    For example `emsd export readings --from 2026-01-01 --quantity active_power_kw -o january.parquet`.
    """
    from emsd.export import rows_at_once
    from emsd.export.tables import readings_table
    from emsd.quantities import BY_NAME
    from emsd.store.export import open_readings

    def describe(asked: Asked) -> tuple[TableSchema, Open]:
        chosen = [BY_NAME[known_name("quantity", name, BY_NAME)] for name in dict.fromkeys(quantity)]
        schema = readings_table(asked.plant, list(asked.meters.values()), chosen, asked.from_, asked.to)
        page_rows = rows_at_once(schema)
        return schema, lambda pool, tell: open_readings(
            pool, asked.meters, chosen, asked.from_, asked.to, page_rows=page_rows, tell=tell
        )

    write_table(Wanted(database_url, output, from_, to, meter, table_format, force, site), describe)


@app.command()
def intervals(
    database_url: DatabaseUrl,
    output: Output,
    from_: From,
    *,
    tier: Annotated[
        Literal["1m", "15m", "1d"], typer.Option(help="Width: minute, quarter of an hour, local day.")
    ] = "15m",
    to: To = None,
    meter: MeterKeys = None,
    table_format: FormatName = None,
    force: Force = False,
    site: SiteNumber = None,
) -> None:
    """Write energy, power and coverage of intervals.

    For example `emsd export intervals --from 2026-01-01 --to 2027-01-01 --tier 1d -o 2026.csv`.
    """
    from emsd.export import rows_at_once
    from emsd.export.tables import intervals_table
    from emsd.store.export import open_intervals

    def describe(asked: Asked) -> tuple[TableSchema, Open]:
        schema = intervals_table(asked.plant, list(asked.meters.values()), tier, asked.from_, asked.to)
        page_rows = rows_at_once(schema)
        return schema, lambda pool, tell: open_intervals(
            pool, asked.meters, tier, asked.from_, asked.to, page_rows=page_rows, tell=tell
        )

    write_table(Wanted(database_url, output, from_, to, meter, table_format, force, site), describe, energy_only=True)


@app.command()
def events(
    database_url: DatabaseUrl,
    output: Output,
    from_: From,
    *,
    to: To = None,
    meter: MeterKeys = None,
    table_format: FormatName = None,
    force: Force = False,
    site: SiteNumber = None,
) -> None:
    """Write what happened to meters: swaps, resets, changed ratios."""
    from emsd.export import rows_at_once
    from emsd.export.tables import events_table
    from emsd.store.export import open_events

    def describe(asked: Asked) -> tuple[TableSchema, Open]:
        schema = events_table(asked.plant, list(asked.meters.values()), asked.from_, asked.to)
        page_rows = rows_at_once(schema)
        return schema, lambda pool, _tell: open_events(pool, asked.meters, asked.from_, asked.to, page_rows=page_rows)

    write_table(Wanted(database_url, output, from_, to, meter, table_format, force, site), describe)
