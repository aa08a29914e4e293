"""`emsd simulate fault`: the faults of a simulator that runs, through its control API.

Exit codes: 0 done; 1 no simulator answers; 2 the fault, or its number, is none that it can have.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from emsd.cli.outcome import one_sentence
from emsd.cli.simulate.address import ask_simulator, find_simulator
from emsd.errors import ConfigurationError

__all__ = ["app"]

app = typer.Typer(help="Make devices of a running simulator fail, and see what that changed.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="As JSON, with every change.")]
Url = Annotated[
    str | None,
    typer.Option("--simulator", metavar="URL", help="Where it listens; absent: the last that was started."),
]


@app.command()
def add(
    kind: Annotated[str, typer.Argument(help="Kind of fault; `emsd simulate fault kinds` lists them.")],
    parameters: Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="What shapes it.")] = None,
    meter: Annotated[str | None, typer.Option(help="The meter that it happens to.")] = None,
    connection: Annotated[str | None, typer.Option(help="Or the connection, with every meter of it.")] = None,
    unit: Annotated[int | None, typer.Option(help="Or one unit of the connection.")] = None,
    after: Annotated[float | None, typer.Option(min=0, help="Begin after so many seconds; else at once.")] = None,
    for_: Annotated[
        float | None, typer.Option("--for", min=0, help="End after so many seconds; else when it is removed.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another number, another chance.")] = 1,
    simulator: Url = None,
) -> None:
    """Let a fault happen to a meter or a connection, now or later."""
    with one_sentence():
        entry: dict[str, object] = {
            "kind": kind,
            "meter": meter,
            "connection": connection,
            "unit_id": unit,
            "after_s": after,
            "for_s": for_,
            "parameters": dict(_pair(each) for each in parameters or ()),
            "seed": seed,
        }
        answer = _ask(simulator, "POST", "/faults", entry)
    typer.echo(f"fault {answer['number']}: {kind} of {meter or connection or 'nobody'}")


@app.command()
def remove(
    number: Annotated[int, typer.Argument(help="Its number, as `list` shows it.")], simulator: Url = None
) -> None:
    """End a fault now; one that is still to come never happens."""
    with one_sentence():
        _ask(simulator, "DELETE", f"/faults/{number}")
    typer.echo(f"fault {number} is over")


@app.command()
def clear(simulator: Url = None) -> None:
    """End every fault that can end; what is still to come never happens."""
    with one_sentence():
        removed = _ask(simulator, "DELETE", "/faults")["removed"]
    typer.echo(f"{len(removed)} faults are over")


@app.command("list")
def list_faults(as_json: AsJson = False, simulator: Url = None) -> None:
    """Show every fault so far: whom it concerns, what it touched, what can be known all the same."""
    with one_sentence():
        records = _ask(simulator, "GET", "/faults")
    if as_json:
        typer.echo(json.dumps(records, indent=2))
        return
    table = Table("No.", "Fault", "Of", "State", "From", "Until", "Hits", "Changes", "Energy that can be known")
    for each in records:
        table.add_row(
            str(each["number"]), each["kind"], each["meter"] or each["connection"], each["state"].replace("_", " "),
            each["from"], each["until"] or "-", str(each["hits"]), str(len(each["changes"])),
            ", ".join(sorted(set(each["knowable"].values()))).replace("_", " "),
        )  # fmt: skip
    _console().print(table if records else "no fault so far")


@app.command()
def kinds(kind: Annotated[str | None, typer.Argument(help="Only this one, with its parameters.")] = None) -> None:
    """List the kinds of faults; no simulator is needed."""
    from simulator.fault_kinds import KINDS

    with one_sentence():
        if kind is not None and kind not in KINDS:
            raise ConfigurationError(f"there is no fault {kind!r}; there are {', '.join(KINDS)}")
    if kind is None:
        table = Table("Kind", "Where", "What happens")
        for each in KINDS.values():
            table.add_row(each.name, each.layer.value, each.what)
        _console().print(table)
        return
    typer.echo(KINDS[kind].what)
    table = Table("Parameter", "Default", "Unit", "Meaning")
    for parameter in KINDS[kind].parameters:
        default = "-" if parameter.default is None else str(parameter.default)
        words = f" One of: {', '.join(parameter.words)}." if parameter.words else ""
        table.add_row(parameter.name, default, parameter.unit, parameter.meaning + words)
    if KINDS[kind].parameters:
        _console().print(table)


def _ask(url: str | None, method: str, path: str, body: dict[str, object] | None = None) -> Any:
    return ask_simulator(find_simulator(url), method, path, body)


def _pair(text: str) -> tuple[str, float | str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigurationError(f"{text!r} is not like name=value; write it so")
    try:
        return name, float(value)
    except ValueError:
        return name, value


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)
