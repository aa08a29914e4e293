"""`emsd check`: read a plant's description without touching any device, and show it as a tree.

Exit codes: 0 the description is right, perhaps with warnings; 2 it has faults, one a line on standard error.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from emsd.errors import ConfigurationError, PlantError

__all__ = ["check"]

_WIDTH_OF_A_FILE = 160


def check(
    path: Annotated[
        Path, typer.Argument(envvar="EMSD_PLANT", show_envvar=True, help="The plant's description.")
    ] = Path("plant.yaml"),
) -> None:
    """Check a plant's description and show it as a tree; no device is touched."""
    from rich.console import Console

    from emsd.alarms.oncall import OnCall
    from emsd.cli.plant_view import plant_view
    from emsd.plant.loader import load_plant

    try:
        loaded = load_plant(path, environ=os.environ)
    except PlantError as error:
        for fault in error.faults:
            typer.echo(str(fault), err=True)
        raise typer.Exit(2) from error
    try:
        OnCall(loaded.plant.notification_targets)
    except ConfigurationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)
    console.print(plant_view(loaded))
    for warning in loaded.warnings:
        typer.echo(f"warning: {warning}", err=True)
