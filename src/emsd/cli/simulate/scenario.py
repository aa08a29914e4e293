"""`emsd simulate scenario`: what changes in a simulated plant, and what it truly costs.

Exit codes: 0 done; 1 no simulator answers; 2 what was asked for is none that it can answer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from emsd.cli.outcome import one_sentence
from emsd.cli.simulate.address import Address, ask_simulator, find_simulator
from emsd.cli.simulate.instants import instant_of
from emsd.errors import SettingsError

__all__ = ["app"]

app = typer.Typer(help="See what changes in a simulated plant, and what it truly costs.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
Url = Annotated[
    str | None,
    typer.Option("--simulator", metavar="URL", help="Where it listens; absent: the last that was started."),
]

_DAYS_A_QUESTION: Final = 31  # each takes seconds, so that progress is seen


@app.command()
def kinds() -> None:
    """List the kinds of scenarios; no simulator is needed."""
    from simulator.physics.scenarios import KINDS

    table = Table("Kind", "Of", "Amount is a", "From", "To", "What happens")
    for kind, each in KINDS.items():
        of = ", ".join(one.value for one in each.asset_kinds) or "the site"
        table.add_row(kind.value, of, each.unit, f"{each.least:g}", f"{each.most:g}", each.summary)
    _console().print(table)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The scenarios (YAML).")],
    plant: Annotated[Path, typer.Argument(help="The plant that they are for.", show_default=True)] = Path("plant.yaml"),
) -> None:
    """Say everything that is wrong with a file of scenarios, with its lines; no simulator is needed."""
    from emsd.plant.loader import load_plant
    from simulator.scenario_file import load_scenarios

    with one_sentence():
        found = load_scenarios(file, load_plant(plant, environ=os.environ).plant)
    typer.echo(f"all that {file} says can happen in {plant}: {', '.join(each.key for each in found)}")


@app.command("list")
def list_scenarios(as_json: AsJson = False, simulator: Url = None) -> None:
    """Show the scenarios of a running simulator: whom they concern, since when, how much."""
    with one_sentence():
        found = ask_simulator(find_simulator(simulator), "GET", "/scenarios")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    table = Table("Scenario", "Kind", "Of", "Amount", "Unit", "From", "Until", "State")
    for each in found:
        table.add_row(
            each["key"], each["kind"], each["asset"] or "all", f"{each['amount']:g}", each["unit"],
            each["start"], each["end"] or "-", each["state"].replace("_", " "),
        )  # fmt: skip
    _console().print(table if found else "no scenarios; `emsd simulate run --scenarios FILE` brings some")


@app.command()
def cost(
    begin: Annotated[str, typer.Option("--from", metavar="TIME", help="Begin, local to the site.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="End, exclusive, local to the site.")],
    key: Annotated[str | None, typer.Option(help="Only this scenario.")] = None,
    as_json: AsJson = False,
    simulator: Url = None,
) -> None:
    """Compute what each scenario of a running simulator truly costs: the plant less a twin without it.

    For example `emsd simulate scenario cost --from 2026-01-01 --to 2027-01-01`. What is saved is negative.
    """
    with one_sentence():
        address = find_simulator(simulator)
        zone = ZoneInfo(ask_simulator(address, "GET", "/status")["time_zone"])
        window = instant_of("--from", begin, zone), instant_of("--to", end, zone)
        if window[0] >= window[1]:
            raise SettingsError(f"--to {end} is not after --from {begin}; move one of them")
        known = ask_simulator(address, "GET", f"/scenarios?{urlencode({} if key is None else {'key': key})}")
        questions = [(each["key"], *part) for each in known for part in _parts(*window)]
        totals: dict[str, dict[str, Any]] = {}
        for name, first, last in track(questions, "Days of twins", console=Console(stderr=True), transient=True):
            _add(totals, name, _cost(address, name, first, last))
    if as_json:
        typer.echo(json.dumps(totals, indent=2))
        return
    table = Table("Scenario", "Kind", "Of", "Site kWh", "Most by an area kWh")
    for column in table.columns[3:4]:
        column.justify = "right"
    for each in known:
        found = totals[each["key"]]
        area = max(found["areas"], key=lambda one: abs(found["areas"][one]), default="-")
        most = f"{area} {found['areas'][area]:,.1f}" if found["areas"] else "-"
        table.add_row(each["key"], each["kind"], each["asset"] or "all", f"{found['site_kwh']:,.1f}", most)
    _console().print(table if known else "no scenarios; `emsd simulate run --scenarios FILE` brings some")


def _parts(begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    while begin < end:
        until = min(begin + timedelta(days=_DAYS_A_QUESTION), end)
        yield begin, until
        begin = until


def _cost(address: Address, key: str, begin: datetime, end: datetime) -> dict[str, Any]:
    query = urlencode({"key": key, "from": begin.isoformat(), "to": end.isoformat()})
    found: dict[str, Any] = ask_simulator(address, "GET", f"/scenarios?{query}")[0]["cost"]
    return found


def _add(totals: dict[str, dict[str, Any]], key: str, found: dict[str, Any]) -> None:
    total = totals.setdefault(key, {"site_kwh": 0.0, "areas": {}, "meters": {}})
    total["site_kwh"] += found["site_kwh"]
    for group in ("areas", "meters"):
        for name, kwh in found[group].items():
            total[group][name] = total[group].get(name, 0.0) + kwh


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)
