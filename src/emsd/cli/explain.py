"""`emsd explain`: from a figure back to what it is made of, as a report for a person or as JSON for a machine."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from emsd.cli.options import DatabaseUrl

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from emsd.api.dependencies import Configuration
    from emsd.api.explained.form import Explanation
    from emsd.store.pool import Pool
    from emsd.store.scopes import ScopeKind

__all__ = ["app"]

app = typer.Typer(
    help="Why a figure is what it is: its parts, the rules that it follows, and what it rests on. Exit code 1 when the "
    "figure is not what its parts make.",
    no_args_is_help=True,
)


class _Scope(StrEnum):
    SITE = "site"
    AREA = "area"
    STAGE = "stage"
    ASSET_KIND = "asset_kind"
    ASSET = "asset"
    METER = "meter"


class _Carbon(StrEnum):
    LOCATION = "location"
    MARKET = "market"
    SCOPE1 = "scope1"


class _Measure(StrEnum):
    KG_CO2E = "kg_co2e"
    KWH = "kwh"


_Key: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar="[KEY]", help="Key of the meter, or what --scope says; absent: the site.", show_default=False
    ),
]
_ScopeOf: TypeAlias = Annotated[_Scope | None, typer.Option("--scope", help="What KEY is the key of; absent: meter.")]
_From: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="TIME", help="Begin, 2026-03-29 or 2026-03-29T12:00, at the site; absent: yesterday."
    ),
]
_To: TypeAlias = Annotated[str | None, typer.Option("--to", metavar="TIME", help="End; absent: a day after the begin.")]
_Month: TypeAlias = Annotated[
    str | None, typer.Option(help="A local month such as 2026-10, instead of --from and --to.")
]
_Site: TypeAlias = Annotated[
    int | None, typer.Option("--site", help="Number of the site, where the database holds several.")
]
_Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print what the API would answer.")]


@app.command("energy")
def energy(
    database_url: DatabaseUrl,
    key: _Key = None,
    scope: _ScopeOf = None,
    from_: _From = None,
    to: _To = None,
    site: _Site = None,
    as_json: _Json = False,
) -> None:
    """Energy, from its raw readings: increments, events, gaps, rules, and the sum of it all.

    It is computed again, part by part, and held against the interval tables, whatever the length of the time.
    """
    from emsd.api.explained.scopes import explain_energy
    from emsd.cli.explain_asking import explain, scope_asked, span_of

    def ask(pool: Pool, configuration: Configuration) -> Awaitable[Explanation]:
        kind = scope_asked(configuration, _kind(scope, key), key)
        begin, end = span_of(from_, to, None, configuration.plant.zone)
        return explain_energy(pool, configuration, kind, key, begin, end)

    explain(database_url, site, ask, as_json=as_json)


@app.command("cost")
def cost(
    database_url: DatabaseUrl,
    key: _Key = None,
    scope: _ScopeOf = None,
    month: _Month = None,
    from_: _From = None,
    to: _To = None,
    site: _Site = None,
    as_json: _Json = False,
) -> None:
    """A cost: which energy fell into which rate, at which price; of the site's whole months the bill."""
    from emsd.api.explained.cost import explain_cost
    from emsd.cli.explain_asking import explain, full_quarters, scope_asked, span_of

    def ask(pool: Pool, configuration: Configuration) -> Awaitable[Explanation]:
        kind = scope_asked(configuration, _kind(scope, key), key)
        begin, end = full_quarters(span_of(from_, to, month, configuration.plant.zone))
        return explain_cost(pool, configuration, kind, key, begin, end)

    explain(database_url, site, ask, as_json=as_json)


@app.command("demand")
def demand(
    database_url: DatabaseUrl,
    key: _Key = None,
    scope: _ScopeOf = None,
    month: _Month = None,
    from_: _From = None,
    to: _To = None,
    sliding: Annotated[bool, typer.Option("--sliding", help="The highest window that begins at any minute.")] = False,
    site: _Site = None,
    as_json: _Json = False,
) -> None:
    """The highest demand: which settlement period it was, what each meter drew in it, by which readings."""
    from emsd.api.explained.demand import explain_demand
    from emsd.cli.explain_asking import explain, scope_asked, span_of

    def ask(pool: Pool, configuration: Configuration) -> Awaitable[Explanation]:
        kind = scope_asked(configuration, _kind(scope, key), key)
        begin, end = span_of(from_, to, month, configuration.plant.zone)
        return explain_demand(pool, configuration, kind, key, begin, end, sliding=sliding)

    explain(database_url, site, ask, as_json=as_json)


@app.command("carbon")
def carbon(
    database_url: DatabaseUrl,
    figure: Annotated[_Carbon, typer.Argument(help="Scope 2 by one of its methods, or Scope 1.")],
    from_: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First local day; absent: 1 January.")
    ] = None,
    to: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="First local day after it; absent: tomorrow.")
    ] = None,
    statement: Annotated[int | None, typer.Option(min=1, help="Number of a statement, instead of a time.")] = None,
    site: _Site = None,
    as_json: _Json = False,
) -> None:
    """A figure of the carbon ledger or of a statement: energies, factors and certificates, or activities and gases."""
    from datetime import UTC

    from emsd.api.explained.ledger import explain_ledger, explain_statement
    from emsd.cli.explain_asking import explain
    from emsd.errors import SettingsError

    def ask(pool: Pool, configuration: Configuration) -> Awaitable[Explanation]:
        plant = configuration.plant
        if statement is not None:
            if from_ is not None or to is not None:
                raise SettingsError("--statement has a period of its own; leave out --from and --to")
            return explain_statement(pool, plant.site.site_id, figure.value, statement)
        now = datetime.now(UTC)
        today = now.astimezone(plant.zone).date()
        first_day = today.replace(month=1, day=1) if from_ is None else from_.date()
        end_day = today + timedelta(days=1) if to is None else to.date()
        if end_day <= first_day:
            raise SettingsError(f"--to {end_day} is not after --from {first_day}")
        return explain_ledger(pool, plant.site.site_id, figure.value, first_day, end_day, now=now)

    explain(database_url, site, ask, as_json=as_json)


@app.command("kpi")
def kpi(
    database_url: DatabaseUrl,
    asset: Annotated[str, typer.Argument(help="Key of an asset.")],
    name: Annotated[str, typer.Argument(help="Name of a key figure, such as chiller_cop.")],
    from_: _From = None,
    to: _To = None,
    site: _Site = None,
    as_json: _Json = False,
) -> None:
    """A key figure: its inputs by meter and quantity, their sums, coverage and formula, or why it has no value."""
    from emsd.api.explained.kpi import explain_kpi
    from emsd.cli.explain_asking import chosen, explain, span_of
    from emsd.energy.kpi import kpis_of_kind

    def ask(pool: Pool, configuration: Configuration) -> Awaitable[Explanation]:
        plant = configuration.plant
        row = chosen("asset", asset, {each.key: each for each in plant.assets.values()})
        definition = chosen("key figure", name, {each.name: each for each in kpis_of_kind(row.kind)})
        begin, end = span_of(from_, to, None, plant.zone)
        return explain_kpi(pool, plant, row, definition, begin, end)

    explain(database_url, site, ask, as_json=as_json)


@app.command("footprint")
def footprint(
    database_url: DatabaseUrl,
    product: Annotated[str, typer.Argument(help="Key of a product.")],
    measure: Annotated[_Measure, typer.Option(help="Emissions or energy.")] = _Measure.KG_CO2E,
    month: _Month = None,
    from_: _From = None,
    to: _To = None,
    site: _Site = None,
    as_json: _Json = False,
) -> None:
    """The footprint of all that was made of a product: areas, allocation keys, and its share of each stage."""
    from emsd.api.explained.footprint import explain_footprint
    from emsd.cli.explain_asking import explain, full_quarters, span_of

    def ask(pool: Pool, configuration: Configuration) -> Awaitable[Explanation]:
        begin, end = full_quarters(span_of(from_, to, month, configuration.plant.zone))
        return explain_footprint(pool, configuration, product, begin, end, measure.value)

    explain(database_url, site, ask, as_json=as_json)


@app.command("balance")
def balance(
    database_url: DatabaseUrl,
    bus: Annotated[str, typer.Argument(help="Key of a meter that has meters below it.")],
    from_: _From = None,
    to: _To = None,
    site: _Site = None,
    as_json: _Json = False,
) -> None:
    """The residual of a bus: what it counted, less what each meter below it counted."""
    from emsd.api.explained.balance import explain_balance
    from emsd.cli.explain_asking import chosen, explain, span_of

    def ask(pool: Pool, configuration: Configuration) -> Awaitable[Explanation]:
        plant = configuration.plant
        row = chosen("bus", bus, {plant.meters[each].key: plant.meters[each] for each in plant.buses})
        begin, end = span_of(from_, to, None, plant.zone)
        return explain_balance(pool, configuration, row, begin, end)

    explain(database_url, site, ask, as_json=as_json)


def _kind(scope: _Scope | None, key: str | None) -> ScopeKind:
    if scope is None:
        return "site" if key is None else "meter"
    return scope.value
