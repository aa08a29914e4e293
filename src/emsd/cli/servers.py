"""`emsd servers`: the private TimescaleDB and Mosquitto, kept in the background.

Exit codes: 0 done; 1 a server could not be installed, started or stopped, or `status` found one that does not run; 2 an
option is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from emsd.errors import ConfigurationError, EmsdError
from emsd.servers import DATABASE_VARIABLE, MQTT_VARIABLE, ServerSet, ServerStatus, install
from emsd.servers import Progress as Report

__all__ = ["app", "progress_bar"]

app = typer.Typer(help="A private TimescaleDB and Mosquitto, without Docker and without root.", no_args_is_help=True)

Name = Annotated[str, typer.Option("--name", help="Which set of servers; each has its own data.")]
VARIABLES = {"timescaledb": DATABASE_VARIABLE, "mosquitto": MQTT_VARIABLE}


@contextmanager
def progress_bar(console: Console) -> Iterator[Report]:
    """A bar that appears with the first report and so never for a quick no-op."""
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        console=console, transient=True,
    ) as bar:  # fmt: skip

        def report(what: str, share: float | None) -> None:
            if not bar.task_ids:
                bar.add_task("")
            bar.update(bar.task_ids[0], description=what, total=None if share is None else 1.0, completed=share or 0.0)

        yield report


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn an error of ours into its sentence and an exit code."""
    try:
        yield
    except EmsdError as error:
        Console(stderr=True).print(f"[red]error[/red] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(2 if isinstance(error, ConfigurationError) else 1) from error


@app.command("install")
def install_servers(
    verify: Annotated[
        bool, typer.Option("--verify", help="Also compare every file with its recorded SHA-256.")
    ] = False,
) -> None:
    """Fetch the servers' programs, so that a later start needs no network."""
    console = Console()
    with _one_sentence():
        with progress_bar(Console(stderr=True)) as report:
            installation = install(progress=report)
        for name, part in (("timescaledb", installation.timescaledb), ("mosquitto", installation.mosquitto)):
            if part is not None:
                origin = part.manifest.root if part.manifest else "this machine's own"
                console.print(f"{name} {part.version} ({origin})", highlight=False, soft_wrap=True)
        faults = installation.faults() if verify else []
    for fault in faults:
        console.print(fault, highlight=False, soft_wrap=True)
    if faults:
        raise typer.Exit(1)


@app.command()
def start(
    name: Name = "default",
    postgres_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="TCP port; any free one if not given.")
    ] = None,
    mqtt_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="TCP port; any free one if not given.")
    ] = None,
) -> None:
    """Start both servers in the background; those that run already are left alone."""
    with _one_sentence():
        with progress_bar(Console(stderr=True)) as report:
            servers = ServerSet(name, postgres_port=postgres_port, mosquitto_port=mqtt_port, progress=report)
            found = servers.start()
        for entry in found:
            if entry.running is None:
                how = f"is yours ({VARIABLES[entry.server]} is set); nothing was started"
            else:
                how = f"{'started' if entry.started_now else 'already runs'} on 127.0.0.1:{entry.port}"
            typer.echo(f"{entry.server} {how}")


@app.command()
def stop(name: Name = "default") -> None:
    """Stop the servers that were started here; their data stays."""
    with _one_sentence():
        stopped = ServerSet(name).stop()
    typer.echo(f"stopped {' and '.join(stopped)}" if stopped else "nothing was running")


@app.command()
def status(name: Name = "default") -> None:
    """Show what runs, where, and where its log is; exit 1 if one of them does not run."""
    with _one_sentence():
        servers = ServerSet(name)
        found = servers.status()
    table = Table(title=f"servers {name!r} in {servers.folder}")
    for heading in ("server", "state", "process", "port", "log"):
        table.add_column(heading, overflow="fold")
    for entry in found:
        table.add_row(
            entry.server, _state(entry), str(entry.pid or ""), str(entry.port or ""), str(entry.log_file or "")
        )
    Console().print(table)
    if any(entry.running is False for entry in found):
        raise typer.Exit(1)


@app.command()
def url(
    which: Annotated[
        Literal["database", "mqtt"] | None, typer.Argument(help="One of the two; both if not given.")
    ] = None,
    name: Name = "default",
) -> None:
    """Print the URL of one server, or both as VARIABLE=URL lines; they hold passwords.

    For example `psql $(emsd servers url database)` or `export $(emsd servers url)`.
    """
    with _one_sentence():
        found = {entry.server: entry.url for entry in ServerSet(name).status()}
    wanted = {"database": ["timescaledb"], "mqtt": ["mosquitto"], None: ["timescaledb", "mosquitto"]}[which]
    for server, address in found.items():
        if server in wanted:
            if address is None:
                typer.echo(f"error {server} does not run; start it with `emsd servers start --name {name}`", err=True)
                raise typer.Exit(1)
            typer.echo(address if which else f"{VARIABLES[server]}={address}")


def _state(entry: ServerStatus) -> str:
    if entry.running is None:
        return f"yours, from {VARIABLES[entry.server]}"
    return "runs" if entry.running else "does not run"
