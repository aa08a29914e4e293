"""Words of the carbon ledger's API: what may be written into it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Final, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

__all__ = ["Amount", "Asked", "Instant", "Share", "Text", "Word"]

_NO_CONTROL = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
Word: TypeAlias = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=_NO_CONTROL)
]
Text: TypeAlias = Annotated[str, StringConstraints(max_length=2000, pattern=_NO_CONTROL)]
Amount: TypeAlias = Annotated[Decimal, Field(ge=0, le=10**12, max_digits=30, allow_inf_nan=False)]
Share: TypeAlias = Annotated[Decimal, Field(ge=0, le=1, max_digits=20, allow_inf_nan=False)]
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
Instant: TypeAlias = Annotated[AwareDatetime, Field(ge=_EARLIEST, lt=_LATEST)]


class Asked(BaseModel):
    """What is asked: nothing that is not known here."""

    model_config = ConfigDict(extra="forbid")
