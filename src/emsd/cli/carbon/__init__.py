"""`emsd carbon`: the carbon ledger on the command line."""

from __future__ import annotations

import typer

from emsd.cli.carbon import activities, certificates, factors, key, statement

__all__ = ["app"]

app = typer.Typer(
    help="The carbon ledger: factors, certificates, activities of Scope 1, signed statements.",
    epilog="Exit codes: 0 done; 1 it could not be done, or does not hold; 2 what was written is wrong.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(factors.app, name="factors")
app.add_typer(certificates.app, name="certificates")
app.add_typer(activities.app, name="activities")
app.add_typer(statement.app, name="statement")
app.add_typer(key.app, name="key")
