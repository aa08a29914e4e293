"""The command line, and the only place where collectors, simulator and service are put together.

One module a command. Each is imported when its command is called, so that `emsd --help` costs no database driver.
"""

from __future__ import annotations

import typer

from emsd.cli import (
    carbon,
    check,
    events,
    explain,
    export,
    migrate,
    probe,
    production,
    profiles,
    quarantine,
    recompute,
    run,
    scan,
    schema,
    servers,
    simulate,
    tariff,
    token,
)
from emsd.cli.demo import command as demo

__all__ = ["app"]

app = typer.Typer(
    name="emsd",
    help="Real-time energy monitoring for industrial meters.",
    epilog="Start with `emsd demo`, then describe your plant and `emsd check` it.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
)
app.command()(demo.demo)
app.command()(check.check)
app.command()(probe.probe)
app.command()(scan.scan)
app.command()(run.run)
app.command()(run.collect)
app.command()(run.serve)
app.command()(migrate.migrate)
app.command()(recompute.recompute)
app.command()(schema.schema)
app.add_typer(simulate.app, name="simulate")
app.add_typer(profiles.app, name="profiles")
app.add_typer(events.app, name="events")
app.add_typer(servers.app, name="servers")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(explain.app, name="explain")
app.add_typer(export.app, name="export")
app.add_typer(production.app, name="production")
app.add_typer(tariff.app, name="tariff")
app.add_typer(carbon.app, name="carbon")
app.add_typer(token.app, name="token")
