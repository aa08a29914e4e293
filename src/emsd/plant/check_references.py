"""Checks of keys: each once in its section, each name that is used exists, no tree bites its tail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from emsd.plant.draft import Draft
from emsd.plant.source import Finding, Where, list_or_hint
from emsd.plant.tree import circles

__all__ = ["check_references"]

_SECTIONS: Final = ("areas", "assets", "connections", "meters", "alarms", "notification_targets")

_REFERENCES: Final = (
    ("areas", "parent", "areas"),
    ("assets", "area", "areas"),
    ("meters", "asset", "assets"),
    ("meters", "connection", "connections"),
    ("meters", "parent", "meters"),
    ("alarms", "meters", "meters"),
    ("alarms", "notify", "notification_targets"),
)
"""Section, its field, and the section that the field names an entry of."""

_PLURAL: Final = {"notification_targets": "notification targets"}


def check_references(draft: Draft) -> Iterator[Finding]:
    """Find keys used twice, references to nothing, unknown profiles and circles of parents."""
    for section in _SECTIONS:
        yield from _twice(draft, section)
    for section, field, target in _REFERENCES:
        if target == "meters" and not draft.surroundings.all_meters_read:
            continue
        known = draft.keys(target)
        for where, name in _names(draft, section, field):
            if name not in known:
                yield _dangling(draft, where, name, known, _PLURAL.get(target, target))
    profiles = draft.surroundings.profiles
    for where, name in _names(draft, "meters", "profile"):
        if name not in profiles and name not in draft.surroundings.broken_profiles:
            yield _dangling(draft, where, name, profiles, "profiles")
    for section in ("areas", "meters"):
        yield from _circles(draft, section)


def _twice(draft: Draft, section: str) -> Iterator[Finding]:
    first = draft.keys(section)
    for index, entry in draft.written(section):
        key = entry.get("key")
        if isinstance(key, str) and first[key] != index:
            place = draft.source.place((section, first[key], "key"))
            where = (section, index, "key")
            problem = f"{draft.source.shown(where, key)}is taken by {place.file}:{place.line}"
            yield Finding(where, problem, "give each its own key")


def _names(draft: Draft, section: str, field: str) -> Iterator[tuple[Where, str]]:
    """Yield every name that stands in a field of a section, one by one where it holds a list."""
    for index, entry in draft.written(section):
        value: Any = entry.get(field)
        if isinstance(value, str):
            yield (section, index, field), value.strip()
        elif isinstance(value, list):
            for number, name in enumerate(value):
                if isinstance(name, str):
                    yield (section, index, field, number), name.strip()


def _dangling(draft: Draft, where: Where, name: str, known: Any, what: str) -> Finding:
    return Finding(where, f"{draft.source.shown(where, name)}is not among the {what}", list_or_hint(name, known, what))


def _circles(draft: Draft, section: str) -> Iterator[Finding]:
    first = draft.keys(section)
    parents = {
        str(entry["key"]): entry["parent"] if isinstance(entry.get("parent"), str) else None
        for index, entry in draft.written(section)
        if isinstance(entry.get("key"), str) and first[entry["key"]] == index
    }
    for circle in circles(parents):
        trail = " > ".join((*circle, circle[0]))
        where = (section, first[circle[0]], "parent")
        yield Finding(where, f"goes round in a circle: {trail}", "let one of them have another parent, or none")
