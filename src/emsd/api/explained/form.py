"""The form in which every figure is explained: what it is, what it is put together from, by which rules, out of what.

    figure = sum of the parts marked + less those marked -        and the same of every part that has parts
    figure = `rules` over the parts                               where parts are no summands: a ratio, a maximum

`figure` is what the other operations of the API answer; `recomputed` is put together anew from the parts. Both are
always said, and so is by how much they differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlencode

from pydantic import Field

from emsd.api.schemas.answer import Answer
from emsd.readings import to_datetime

__all__ = [
    "MOST_PARTS",
    "Explanation",
    "ExplanationKind",
    "Part",
    "Rule",
    "Source",
    "added",
    "energy_path",
    "first_parts",
    "judged",
    "known_sum",
    "same_figure",
    "times",
]

ExplanationKind: TypeAlias = Literal["energy", "cost", "demand", "carbon", "kpi", "footprint", "balance"]
Sign: TypeAlias = Literal["+", "-", ""]
Scalar: TypeAlias = str | float | int | bool | None

MOST_PARTS: Final = 50
"""Parts of one kind that are told one by one; sums are over all of them."""
_SAME: Final = 1e-6
_SAME_SHARE: Final = 1e-9
"""Two sums of doubles are one figure when they differ by no more than a millionth of the unit, or rounding."""


class Rule(Answer):
    """A rule that the figure follows."""

    name: str = Field(examples=["demand charge"])
    rule: str = Field(description="In words or as a formula, with its numbers.")
    source: str = Field(default="", description="Who says so; empty: emsd itself, as its documentation does.")


class Source(Answer):
    """What the figure rests on: a meter, a price, a factor, a certificate, an activity, a statement."""

    kind: str = Field(examples=["carbon factor"])
    name: str = Field(examples=["CN, location, version 2"])
    facts: dict[str, Any] = Field(default_factory=dict, description="Numbers, validity, publication, author.")
    explain: str | None = Field(default=None, description="Where it is explained further.")


class Part(Answer):
    """What a figure is put together from; parts may have parts of their own."""

    what: str = Field(examples=["peak"])
    figure: float | None = Field(description="null: nobody knows it.")
    unit: str = Field(examples=["EUR"])
    sign: Sign = Field(default="+", description="How it counts in the sum above it; empty: it stands beside it.")
    how: str = Field(default="", description="The arithmetic, with its numbers.", examples=["1488 kWh x 0.3 EUR/kWh"])
    from_: datetime | None = Field(default=None, alias="from")
    to: datetime | None = None
    facts: dict[str, Any] = Field(default_factory=dict)
    remark: str = Field(default="", description="What one should know of it.")
    explain: str | None = Field(default=None, description="Where it is explained further.")
    parts: list[Part] = Field(default_factory=list, description="The first of them; sums are over all.")
    part_count: int = Field(default=0, description="How many there are; 0: as many as are listed.")


class Explanation(Answer):
    """A figure, and everything that it rests on."""

    kind: ExplanationKind
    of: str = Field(description="What it is a figure of, in words.", examples=["cost of area fab"])
    field: str = Field(
        description="The operation that answers this figure, and its field there.",
        examples=["/api/v1/cost rows.energy_cost"],
    )
    from_: datetime = Field(alias="from")
    to: datetime
    time_zone: str = Field(examples=["Asia/Shanghai"])
    figure: float | None = Field(description="null: unknown; `remark` says why.")
    unit: str = Field(examples=["kWh"])
    recomputed: float | None = Field(description="The figure put together anew from its parts.")
    agrees: bool = Field(description="Whether the two are the same figure.")
    remark: str = Field(description="Why they are not, as far as is known, and why a figure is unknown.")
    parts: list[Part]
    rules: list[Rule]
    sources: list[Source]


def same_figure(one: float | None, other: float | None) -> bool:
    """Whether two figures are the same."""
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=_SAME_SHARE, abs_tol=_SAME)


def judged(figure: float | None, recomputed: float | None, unit: str, reasons: Iterable[str] = ()) -> tuple[bool, str]:
    """Return whether a figure is what its parts make, and a remark that says by how much it is not, and why."""
    said = [each for each in reasons if each]
    if same_figure(figure, recomputed):
        return True, "; ".join(said)
    if figure is None or recomputed is None:
        known = f"the parts make {recomputed:g} {unit}" if recomputed is not None else "its parts are unknown"
        shown = "the figure is unknown" if figure is None else f"the figure is {figure:g} {unit}"
        return False, "; ".join([f"{shown}, but {known}", *said])
    more = recomputed - figure
    said = said or ["no cause is known"]
    return False, "; ".join([f"the parts make {abs(more):g} {unit} {'more' if more > 0 else 'less'}", *said])


def added(parts: Iterable[Part]) -> float | None:
    """Return the sum of the parts by their signs, as far as they are known; None when none is."""
    signed = [(-1.0 if each.sign == "-" else 1.0, each.figure) for each in parts if each.sign]
    known = [sign * figure for sign, figure in signed if figure is not None]
    return math.fsum(known) if known else None


def known_sum(figures: Iterable[float | None]) -> float | None:
    """Return the sum of what is known; None when nothing is."""
    known = [each for each in figures if each is not None]
    return math.fsum(known) if known else None


def times(*factors: tuple[float | None, str]) -> str:
    """Return a product in words: numbers with their units, `unknown` for what nobody knows."""
    return " x ".join(("unknown" if number is None else f"{number:.12g}") + (f" {unit}" if unit else "")
                      for number, unit in factors)  # fmt: skip


def first_parts(parts: Sequence[Part], most: int = MOST_PARTS) -> list[Part]:
    """Return the parts that are listed one by one."""
    return list(parts[:most])


def energy_path(key: str, from_us: int, to_us: int) -> str:
    """Return where the energy of a meter over [from_us, to_us) [us] is explained."""
    asked = {"scope": "meter", "key": key}
    asked |= {"from": to_datetime(from_us).isoformat(), "to": to_datetime(to_us).isoformat()}
    return f"/api/v1/explain/energy?{urlencode(asked)}"
