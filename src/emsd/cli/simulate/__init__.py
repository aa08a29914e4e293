"""`emsd simulate`: a plant that is not there; what is said without a subcommand is what `run` does.

One module a subcommand, each imported for its signature only: what it needs comes when it is called.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import typer
from typer.core import TyperGroup

from emsd.cli.simulate import fault, scenario
from emsd.cli.simulate.history import history
from emsd.cli.simulate.measure import measure
from emsd.cli.simulate.run import simulate
from emsd.cli.simulate.verify import verify

__all__ = ["app", "simulate"]

_DEFAULT = "run"


class _RunUnlessTold(TyperGroup):
    """`emsd simulate plant.yaml` and `emsd simulate --seed 7` run a plant; a first word that is a command is that."""

    # Typer brings a copy of click from some version on, so the type of a context depends on its version.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        if first not in self.commands and first not in ctx.help_option_names:
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        if find_spec("pvlib") is None:
            typer.echo("the simulated plant needs pvlib; install it with `pip install 'emsd[physics]'`", err=True)
            raise typer.Exit(1)
        return super().invoke(ctx)


app = typer.Typer(
    cls=_RunUnlessTold,
    help="Stand in for every meter of a plant, and say what really flowed: `emsd simulate PLANT` is `run PLANT`.",
    epilog="Exit codes: 0 done; 1 it could not be done; 2 what was written is wrong.",
    rich_markup_mode="markdown",
)
app.command(_DEFAULT)(simulate)
app.add_typer(fault.app, name="fault")
app.add_typer(scenario.app, name="scenario")
app.command()(history)
app.command()(measure)
app.command()(verify)
