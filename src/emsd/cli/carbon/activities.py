"""`emsd carbon activities`: fuels, process gases and losses of Scope 1."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from emsd.cli.carbon.common import (
    AsJson,
    Author,
    Site,
    on_site,
    period_of,
    positive,
    print_json,
    print_table,
    zone_of,
)
from emsd.cli.options import DatabaseUrl

if TYPE_CHECKING:
    from emsd.energy.ledger import Activity
    from emsd.store.activities import Entered
    from emsd.store.pool import Pool

__all__ = ["app"]

app = typer.Typer(help="Fuels, process gases and losses of Scope 1.", no_args_is_help=True)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV; columns are the fields of an activity, see docs/carbon.md.")],
    database_url: DatabaseUrl,
    author: Author,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let rows replace what is entered under their reference.")
    ] = False,
    site: Site = None,
) -> None:
    """Enter a list of activities, all or none; rows that are entered already are passed over."""
    from emsd.plant.activity_csv import read_activities
    from emsd.store.activities import add_activities

    async def enter(pool: Pool, site_id: int) -> list[Entered]:
        activities = read_activities(file, zone=await zone_of(pool, site_id), author=author)
        return await add_activities(pool, site_id, activities, replace=replace)

    counts = Counter(on_site(database_url, site, enter))
    typer.echo(", ".join(f"{counts[what]} {what}" for what in ("added", "replaced", "unchanged")))


@app.command("measure")
def measure(
    meter: Annotated[str, typer.Argument(help="Meter whose counter counted it, over Modbus or MQTT.")],
    quantity: Annotated[str, typer.Argument(help="Its counter: gas_volume_m3, gas_mass_kg, pulse_1_total, ...")],
    database_url: DatabaseUrl,
    author: Author,
    substance: Annotated[str, typer.Option(help="Fuel, or gas that was lost.")],
    period: Annotated[str, typer.Option(help="A year or a month: 2026, 2026-03.")],
    unit: Annotated[str | None, typer.Option(help="Unit of the amount; absent: the counter's own.")] = None,
    per_count: Annotated[str, typer.Option(help="Amount of one count, such as 0.01.")] = "1",
    kind: Annotated[Literal["fuel", "release"], typer.Option(help="What it is.")] = "fuel",
    area: Annotated[str | None, typer.Option(help="Key of the area.")] = None,
    rollover_at: Annotated[
        float | None, typer.Option(min=1, help="Where the counter begins again at 0, such as 1000000.")
    ] = None,
    most_per_hour: Annotated[
        float | None, typer.Option(min=0.001, help="The most that it can count in an hour; more is a fault.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what is entered of this period.")] = False,
    site: Site = None,
) -> None:
    """Enter what a counter counted in a period, with the readings that it comes from."""
    from emsd.energy.ledger import Activity, check_activity
    from emsd.energy.ledger.exact import CONTEXT, decimal_text, exact
    from emsd.energy.windows import local_day_bounds
    from emsd.errors import SettingsError
    from emsd.quantities import BY_NAME
    from emsd.store.activities import add_activities
    from emsd.store.counter_use import read_counter_use

    async def enter(pool: Pool, site_id: int) -> tuple[Entered, Activity]:
        zone = await zone_of(pool, site_id)
        from_, to = (local_day_bounds(day, zone)[0] for day in period_of(period))
        use = await read_counter_use(
            pool, site_id, meter, quantity, from_, to, rollover_at=rollover_at, most_per_hour=most_per_hour
        )
        readings = ", ".join(
            f"{decimal_text(exact(value))} at {time.isoformat()}" for time, value in (use.first, use.last)
        )
        activity = Activity(
            reference=f"{meter} {quantity} {period}", version=1, kind=kind, substance=substance, period_from=from_,
            period_to=to, area=area, amount=CONTEXT.multiply(exact(use.counted), positive(per_count, "--per-count")),
            unit=BY_NAME[quantity].unit if unit is None else unit,
            document=f"meter {meter}, {quantity}: {readings}", author=author,
            note=f"coverage {use.coverage:.3f}" + (f"; {', '.join(use.flags)}" if use.flags else ""),
        )  # fmt: skip
        for field, problem in check_activity(activity):
            raise SettingsError(f"--{field} {problem}")
        (entered,) = await add_activities(pool, site_id, [activity], replace=replace)
        return entered, activity

    entered, activity = on_site(database_url, site, enter)
    amount = decimal_text(activity.amount)
    typer.echo(f"{entered} {activity.reference}: {amount} {activity.unit} ({activity.document})")


@app.command("list")
def list_all(
    database_url: DatabaseUrl,
    all_versions: Annotated[bool, typer.Option("--all", help="Also what was replaced or taken back.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
    site: Site = None,
    as_json: AsJson = False,
) -> None:
    """Show activities with their emissions, the latest first."""
    from emsd.store.activities import list_activities

    rows = on_site(
        database_url,
        site,
        lambda pool, site_id: list_activities(pool, site_id, all_versions=all_versions, limit=limit),
    )
    if as_json:
        print_json([row.activity.model_dump(mode="json") | {"kg_co2e": row.kg_co2e} for row in rows])
        return
    print_table(
        ("reference", "version", "what", "amount", "from [UTC]", "to [UTC]", "area", "t CO2e (AR5)", "document",
         "author"),
        [
            (
                each.reference, f"{each.version}" + ("" if row.in_force else " (replaced)"),
                f"{each.substance} {each.process or each.kind}" + (" (void)" if each.is_void else ""),
                f"{each.amount:f} {each.unit}", f"{each.period_from:%Y-%m-%d %H:%M}",
                f"{each.period_to:%Y-%m-%d %H:%M}", each.area or "", f"{row.kg_co2e['AR5'] / 1000:,.3f}", each.document,
                each.author,
            )
            for row in rows
            for each in (row.activity,)
        ],
    )  # fmt: skip
