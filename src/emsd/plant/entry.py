"""What every entry of a plant's or a profile's document has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Entry", "Key", "Port"]

Key = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
        description="Short name used everywhere else in the document: lower-case letters, digits, - and _.",
    ),
]
"""A key is what one entry calls another; it never changes, while names may."""

Port = Annotated[int, Field(ge=1, le=65535)]


class Entry(BaseModel):
    """Frozen; an unknown field is a fault, and so is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, allow_inf_nan=False)
