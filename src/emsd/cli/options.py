"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = ["DatabaseUrl", "PlantFile"]

DatabaseUrl: TypeAlias = Annotated[
    str,
    typer.Option(
        envvar="EMSD_DATABASE_URL",
        show_envvar=True,
        help="postgresql://user:password@host:port/database of the TimescaleDB.",
    ),
]
PlantFile: TypeAlias = Annotated[
    Path, typer.Option(envvar="EMSD_PLANT", show_envvar=True, help="The plant's description.")
]
