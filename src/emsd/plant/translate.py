"""What pydantic refuses, in plain sentences: `meters[3].poll_interval_s 0 is not 0.1..3600; ...`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from emsd.plant.source import Finding, Source, Where, did_you_mean, list_or_hint, value_text

__all__ = ["translate"]


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where pydantic stumbled: the path in the data, and the model and field that stand there."""

    where: Where
    owner: type[BaseModel] | None
    info: FieldInfo | None
    annotation: Any
    """The type expected at `where` itself, inside lists too."""


def translate(error: ValidationError, source: Source, model: type[BaseModel]) -> list[Finding]:
    """Return a finding for every error of validating `source.data` as `model`."""
    details = error.errors(include_url=False)
    spots = [_spot(model, each["loc"]) for each in details]
    misspelt = _misspelt(details, spots)
    findings = []
    for each, spot in zip(details, spots, strict=True):
        if each["type"] == "missing" and spot.where in misspelt.values():
            continue  # the field that it was written as is already reported
        if each["type"] == "too_short" and each["input"]:
            continue  # its entries are wrong, not missing, and reported themselves
        if each["type"] == "extra_forbidden" and spot.where in misspelt:
            findings.append(_unknown_field(spot, str(misspelt[spot.where][-1])))
        else:
            findings.append(_finding(each, spot, source))
    return findings


def _misspelt(details: list[ErrorDetails], spots: list[_Spot]) -> dict[Where, Where]:
    """Pair unknown fields with missing ones of the same entry that they were probably meant to be."""
    missing = [spot.where for each, spot in zip(details, spots, strict=True) if each["type"] == "missing"]
    pairs: dict[Where, Where] = {}
    for each, spot in zip(details, spots, strict=True):
        if each["type"] == "extra_forbidden":
            nearby = [str(where[-1]) for where in missing if where[:-1] == spot.where[:-1]]
            meant = did_you_mean(str(spot.where[-1]), nearby)
            if meant is not None:
                pairs[spot.where] = (*spot.where[:-1], meant)
    return pairs


def _spot(model: type[BaseModel], loc: tuple[int | str, ...]) -> _Spot:
    """Follow pydantic's path through the models; it names the branch of a union, which the data do not contain."""
    annotation: Any = model
    owner: type[BaseModel] | None = None
    info: FieldInfo | None = None
    where: list[int | str] = []
    for part in loc:
        inner = _strip(annotation)
        models = [each for each in _branches(inner) if isinstance(each, type) and issubclass(each, BaseModel)]
        if len(models) > 1:
            annotation = _branch(models, part)
            continue
        if part == "[key]":
            continue
        where.append(part)
        if models:
            owner = models[0]
            info = owner.model_fields.get(str(part))
            annotation = info.annotation if info else None
        else:
            annotation = next((_element(each) for each in _branches(inner) if get_args(each)), None)
    return _Spot(tuple(where), owner, info, annotation)


def _strip(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _branches(annotation: Any) -> tuple[Any, ...]:
    """Return the alternatives of a type, without None."""
    inner = _strip(annotation)
    if get_origin(inner) in {Union, UnionType}:
        return tuple(_strip(each) for each in get_args(inner) if each is not type(None))
    return (inner,)


def _branch(models: list[type[BaseModel]], tag: int | str) -> type[BaseModel]:
    """Return the model of a tagged union whose `kind` is `tag`, else the one that takes any kind."""
    return next((each for each in models if each.model_fields["kind"].default == tag), models[-1])


def _element(annotation: Any) -> Any:
    arguments = [each for each in get_args(annotation) if each is not Ellipsis]
    return arguments[-1]


def _finding(error: ErrorDetails, spot: _Spot, source: Source) -> Finding:
    kind, given = error["type"], error["input"]
    if kind == "missing":
        return _missing(spot, source)
    if kind == "extra_forbidden":
        return _unknown_field(spot, None)
    if kind in {"union_tag_invalid", "union_tag_not_found", "literal_error", "enum"}:
        return _choice(error, spot, source)
    if kind == "value_error":
        return Finding(spot.where, f"is inconsistent: {error['ctx']['error']}")
    if not spot.where:
        return Finding((), "holds no fields", "write lines such as `name: value`; `emsd schema` says which")
    if kind in _RANGES:
        problem = f"{source.shown(spot.where, given)}is not {_range(spot, error)}"
        return Finding(spot.where, problem, _description(spot))
    if given is None:
        return Finding(spot.where, "is empty", "give it a value, or remove the line if it is optional")
    problem, cure = _SENTENCES.get(kind, (_in_other_words(error["msg"]), ""))
    return Finding(spot.where, source.shown(spot.where, given) + problem, cure or _description(spot))


def _missing(spot: _Spot, source: Source) -> Finding:
    written = source.written.get(spot.where)
    if written is not None:
        return Finding(spot.where, f"{written} is empty", "give the variable a value")
    description = _description(spot)
    return Finding(spot.where, "is missing", f"add it{': ' + description if description else ''}")


def _unknown_field(spot: _Spot, meant: str | None) -> Finding:
    known = spot.owner.model_fields if spot.owner else ()
    cure = f'did you mean "{meant}"?' if meant else list_or_hint(str(spot.where[-1]), known, "fields")
    return Finding(spot.where, "is not a field here", cure)


def _choice(error: ErrorDetails, spot: _Spot, source: Source) -> Finding:
    where, given = spot.where, error["input"]
    if error["type"].startswith("union_tag"):  # pydantic points at the entry, the person wrote `kind`
        where, given = (*where, "kind"), given.get("kind") if isinstance(given, dict) else None
        allowed = [str(each.model_fields["kind"].default) for each in _branches(spot.annotation)]
    else:
        allowed = _allowed(spot.annotation)
    if given is None:
        return Finding(where, "is missing", f"write one of {', '.join(allowed)}")
    meant = did_you_mean(str(given), allowed) if isinstance(given, str) else None
    problem = f"{source.shown(where, given)}is not one of {', '.join(allowed)}"
    return Finding(where, problem, f'did you mean "{meant}"?' if meant else _description(spot))


def _allowed(annotation: Any) -> list[str]:
    allowed: list[str] = []
    for each in _branches(annotation):
        if get_origin(each) is Literal:
            allowed.extend(str(choice) for choice in get_args(each))
        elif isinstance(each, type) and issubclass(each, Enum):
            allowed.extend(str(choice.value) for choice in each)
    return allowed


_RANGES: Final = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal"})
_WORDS: Final = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}


def _range(spot: _Spot, error: ErrorDetails) -> str:
    """Return the allowed range in words: `1..65535`, `greater than 0`."""
    context: Mapping[str, Any] = error.get("ctx", {})
    metadata = spot.info.metadata if spot.info else ()
    limits = {name: getattr(each, name) for each in metadata for name in _WORDS if hasattr(each, name)} or context
    if {"ge", "le"} <= limits.keys():
        return f"{value_text(limits['ge'])}..{value_text(limits['le'])}"
    return " and ".join(f"{words} {value_text(limits[name])}" for name, words in _WORDS.items() if name in limits)


def _description(spot: _Spot) -> str:
    """Return what the field is for, as a cure: the description in the model without its closing point."""
    text = (spot.info.description or "") if spot.info else ""
    return text[:1].lower() + text[1:].rstrip(".") if text[:2] != text[:2].upper() else text.rstrip(".")


def _in_other_words(message: str) -> str:
    return message.replace("Input should be", "is not").replace("Value", "value")


_TEXT: Final = ("is not text", "put it in quotes if it is meant as text")
_WHOLE: Final = ("is not a whole number", "")
_NUMBER: Final = ("is not a number", "")
_DATE: Final = ("is not a date", "write year-month-day, such as 2024-01-31")
_ENTRY: Final = ("is not an entry", "write `field: value` lines, indented under it")

_SENTENCES: Final[Mapping[str, tuple[str, str]]] = {
    "string_type": _TEXT,
    "string_pattern_mismatch": ("is not a valid name", "use lower-case letters, digits, - and _, at most 63 of them"),
    "string_too_short": ("is too short", ""),
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing_size": ("is too large a number", ""),
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": ("is not a finite number", ""),
    "bool_type": ("is not true or false", ""),
    "bool_parsing": ("is not true or false", ""),
    "date_type": _DATE,
    "date_parsing": _DATE,
    "date_from_datetime_parsing": _DATE,
    "date_from_datetime_inexact": _DATE,
    "tuple_type": ("is not a list", "begin each entry with `- `"),
    "too_short": ("is empty", "describe at least one"),
    "too_long": ("has too many entries", ""),
    "dict_type": _ENTRY,
    "model_type": _ENTRY,
    "model_attributes_type": _ENTRY,
}
