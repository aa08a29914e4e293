"""Exact decimals and canonical JSON: what is signed today can be computed again tomorrow, bit by bit.

A binary fraction of the database becomes the shortest decimal that stands for it, and from there on everything is
decimal arithmetic in a context that is the same on every machine (IEEE 754-2008 decimal, Python's `decimal`).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer

__all__ = ["CONTEXT", "Exact", "Instant", "Record", "canonical_json", "decimal_text", "exact", "figure", "share"]

CONTEXT: Final = Context(prec=50, rounding=ROUND_HALF_EVEN)
"""Wide enough that no sum or product of a year's quarter hours is rounded where a person could see it."""

_FIGURE: Final = Decimal("0.000001")
_SHARE: Final = Decimal("0.000000001")


def exact(value: object) -> Decimal:
    """Return a number as a decimal; a float as the shortest decimal that stands for it.

    Raises:
        ValueError: it is no number, or not finite.
    """
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, float):
        number = Decimal(repr(float(value)))
    elif isinstance(value, int | str) and not isinstance(value, bool):
        try:
            number = Decimal(value)
        except ArithmeticError:
            raise ValueError(f"{value!r} is not a number") from None
    else:
        raise ValueError(f"{value!r} is not a number")  # noqa: TRY004 - pydantic reports a ValueError with its place
    if not number.is_finite():
        raise ValueError(f"{value!r} is not a finite number")
    return number


def decimal_text(value: Decimal) -> str:
    """Return the only way to write a decimal here: no exponent, no trailing zeros, no sign of zero."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def instant_text(value: datetime) -> str:
    """Return an instant in UTC, such as 2026-01-31T16:00:00Z, with a fraction only where there is one."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("has no offset from UTC")
    return value.astimezone(UTC)


def figure(value: Decimal) -> Decimal:
    """Round a result to a millionth of its unit [kWh, kg], far below any meter's resolution."""
    return value.quantize(_FIGURE, context=CONTEXT)


def share(part: Decimal, whole: Decimal) -> Decimal | None:
    """Return part / whole to nine places; None when the whole is 0."""
    return CONTEXT.divide(part, whole).quantize(_SHARE, context=CONTEXT) if whole else None


Exact: TypeAlias = Annotated[
    Decimal, BeforeValidator(exact), PlainSerializer(decimal_text, return_type=str, when_used="json")
]
Instant: TypeAlias = Annotated[
    datetime, AfterValidator(_aware), PlainSerializer(instant_text, return_type=str, when_used="json")
]


class Record(BaseModel):
    """What is written into a statement: frozen, nothing unknown, decimals and instants in one spelling only."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def canonical_json(document: Any) -> bytes:
    """Return the one spelling of a JSON document: keys sorted, no blanks, UTF-8; as RFC 8785 for what stands in it.

    Raises:
        ValueError: it holds a float, which has no exact spelling.
    """
    _refuse_floats(document)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def _refuse_floats(node: Any) -> None:
    if isinstance(node, float):
        raise ValueError(f"{node!r} is a float; a statement holds decimals as text")  # noqa: TRY004
    if isinstance(node, dict):
        for value in node.values():
            _refuse_floats(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _refuse_floats(value)
