"""A document as data, with the place in its files that every value came from.

A `Where` is the path of a value in the data: `("meters", 3, "unit_id")`. A `Finding` is something wrong at a path; a
`Source` turns it into a `Fault` with file, line and field, whichever file that part of the data came from.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, get_args

from pydantic import BaseModel, SecretStr

from emsd.errors import Fault
from emsd.plant.models import NotificationTarget
from emsd.plant.mqtt_connection import BrokerConnection

__all__ = ["Finding", "Place", "Source", "Where", "did_you_mean", "in_order", "list_or_hint", "path_text", "value_text"]

Where = tuple[str | int, ...]

_LONGEST_SHOWN = 60
_LONGEST_LIST = 12
_NUMBER = re.compile(r"[+-]?\d{1,20}([.,]\d{1,20})?")


def _secret_fields(models: Iterable[type[BaseModel]]) -> frozenset[str]:
    return frozenset(
        name
        for model in models
        for name, info in model.model_fields.items()
        if info.annotation is SecretStr or SecretStr in get_args(info.annotation)
    )


SECRET_FIELDS = _secret_fields((BrokerConnection, NotificationTarget))
"""Fields whose value is never shown, in whatever entry a person may have put them."""


@dataclass(frozen=True, slots=True)
class Place:
    """File, line (1-based) and the name that a person knows the value by."""

    file: str
    line: int | None
    field: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at a path of the data; `place` says where, when that is not the place of the path."""

    where: Where
    problem: str
    cure: str = ""
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Data read from one YAML file, and perhaps from CSV lists beside it.

    `places` holds every path that was written down. `written` holds the text of the values that came, wholly or in
    part, from the environment: they are shown as they stand in the file, because what replaced them may be a secret.
    """

    file: str
    data: Any
    places: Mapping[Where, Place] = field(default_factory=dict)
    written: Mapping[Where, str] = field(default_factory=dict)

    def place(self, where: Where) -> Place:
        """Return the place of `where`, or for a value that is absent that of the entry which lacks it."""
        for length in range(len(where), -1, -1):
            place = self.places.get(where[:length])
            if place is not None:
                return Place(place.file, place.line, path_text(where[length:], start=place.field))
        return Place(self.file, None, path_text(where))

    def fault(self, finding: Finding) -> Fault:
        """Turn a finding into a fault with file, line and field."""
        place = finding.place or self.place(finding.where)
        return Fault(place.file, place.line, place.field, finding.problem, finding.cure)

    def shown(self, where: Where, value: object) -> str:
        """Return the value as an error may show it, followed by a blank; empty for secrets and for whole entries."""
        if where in self.written:
            return f"{self.written[where]} "
        if (where and where[-1] in SECRET_FIELDS) or value is None or isinstance(value, dict | list | tuple):
            return ""
        return f"{value_text(value)} "


def path_text(where: Where, start: str = "") -> str:
    """Return a path as a person writes it: `meters[3].unit_id`."""
    text = start
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def value_text(value: object) -> str:
    """Return a scalar as a person would write it, short; of what looks like a URL only the scheme."""
    if isinstance(value, str):
        scheme, separator, _ = value.partition("://")
        if separator:
            return f'"{scheme}://..."'
        if _NUMBER.fullmatch(value):
            return value
        short = value if len(value) <= _LONGEST_SHOWN else value[:_LONGEST_SHOWN] + "..."
        return json.dumps(short, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int) and abs(value) >= 10**_LONGEST_SHOWN:
        return "a very long number"
    return value.isoformat() if isinstance(value, date) else str(value)


def did_you_mean(word: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """Return the name in `known` that `word` was probably meant to be, or None.

    `likeness` is the least ratio of `difflib.SequenceMatcher` that counts.
    """
    by_folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=likeness)
    return by_folded[close[0]] if close else None


def list_or_hint(word: str, known: Iterable[str], what: str) -> str:
    """Return a cure for a wrong name: the one that was probably meant, else all of them when they are few.

    `what` names them in the plural ("areas").
    """
    names = sorted(known)
    meant = did_you_mean(word, names)
    if meant is not None:
        return f'did you mean "{meant}"?'
    if not names:
        return f"there are no {what} yet"
    more = ", ..." if len(names) > _LONGEST_LIST else ""
    return f"{what} are: {', '.join(names[:_LONGEST_LIST])}{more}"


def in_order(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return the faults sorted by file, line and field, each once."""
    return tuple(sorted(set(faults), key=lambda fault: (fault.file, fault.line or 0, fault.field, fault.problem)))
