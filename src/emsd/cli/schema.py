"""`emsd schema`: the JSON Schema of a file that a person writes, for the editor."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

__all__ = ["schema", "schema_text"]

Which = Literal["plant", "profile"]


def schema(
    which: Annotated[Which, typer.Argument(help="The plant's description, or a device profile.")] = "plant",
) -> None:
    """Print the JSON Schema of plant.yaml or of a device profile, by which editors complete and check it.

    Name it in the file's first line: # yaml-language-server: $schema=plant.schema.json
    """
    typer.echo(schema_text(which), nl=False)


def schema_text(which: Which) -> str:
    """Return the schema as it stands in config/plant.schema.json and config/profile.schema.json."""
    from emsd.plant.schema import plant_schema, profile_schema

    document = plant_schema() if which == "plant" else profile_schema()
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
