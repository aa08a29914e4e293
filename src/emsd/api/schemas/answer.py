"""What all answers of the API are."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Answer"]


class Answer(BaseModel):
    """Every field has its unit, and an example that a test can hold against it."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True, validate_by_name=True)
