"""How a command ends: an error of ours is its sentence and an exit code, never a traceback.

Exit codes of every command: 0 done; 1 it could not be done; 2 what a person wrote is wrong, and nothing was started.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from emsd.errors import ConfigurationError, EmsdError, PlantError

__all__ = ["one_sentence"]


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn an error of ours into its sentences on standard error and the exit code.

    Raises:
        typer.Exit: 2 for a ConfigurationError, 1 for any other error of ours.
    """
    try:
        yield
    except EmsdError as error:
        typer.echo(str(error), err=True)
        if isinstance(error, PlantError):
            typer.echo(f"{len(error.faults)} to mend; nothing was started", err=True)
        raise typer.Exit(2 if isinstance(error, ConfigurationError) else 1) from error
