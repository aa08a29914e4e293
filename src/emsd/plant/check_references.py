"""Checks of keys: each once in its section, each name that is used exists, no tree bites its tail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from emsd.plant.draft import Draft
from emsd.plant.source import Finding, Where, list_or_hint
from emsd.plant.tree import circles

__all__ = ["check_references"]

_SECTIONS: Final = (
    "areas",
    "assets",
    "connections",
    "meters",
    "virtual_meters",
    "alarms",
    "notification_targets",
    "tariffs",
)

_REFERENCES: Final = (
    ("areas", "parent", "areas"),
    ("assets", "area", "areas"),
    ("meters", "asset", "assets"),
    ("meters", "connection", "connections"),
    ("meters", "parent", "meters|virtual_meters"),
    ("virtual_meters", "asset", "assets"),
    ("virtual_meters", "parent", "meters|virtual_meters"),
    ("alarms", "meters", "meters|virtual_meters"),
    ("alarms", "notify", "notification_targets"),
)
"""Section, its field, and the section that the field names an entry of; a | b: of either."""

_PLURAL: Final = {"notification_targets": "notification targets", "meters|virtual_meters": "meters"}


def check_references(draft: Draft) -> Iterator[Finding]:
    """Find keys used twice, references to nothing, unknown profiles and circles of parents."""
    for section in _SECTIONS:
        yield from _twice(draft, section)
    for section, field, target in _REFERENCES:
        targets = target.split("|")
        if "meters" in targets and not draft.surroundings.all_meters_read:
            continue
        known = {key for each in targets for key in draft.keys(each)}
        for where, name in _names(draft, section, field):
            if name not in known:
                yield _dangling(draft, where, name, known, _PLURAL.get(target, target))
    profiles = draft.surroundings.profiles
    for where, name in _names(draft, "meters", "profile"):
        if name not in profiles and name not in draft.surroundings.broken_profiles:
            yield _dangling(draft, where, name, profiles, "profiles")
    for sections in (("areas",), ("meters", "virtual_meters")):
        yield from _circles(draft, sections)


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


def _circles(draft: Draft, sections: Sequence[str]) -> Iterator[Finding]:
    places: dict[str, Where] = {}
    parents: dict[str, str | None] = {}
    for section in sections:
        first = draft.keys(section)
        for index, entry in draft.written(section):
            key = entry.get("key")
            if isinstance(key, str) and first[key] == index and key not in parents:
                places[key] = (section, index, "parent")
                parents[key] = entry["parent"] if isinstance(entry.get("parent"), str) else None
    for circle in circles(parents):
        trail = " > ".join((*circle, circle[0]))
        problem = f"goes round in a circle: {trail}"
        yield Finding(places[circle[0]], problem, "let one of them have another parent, or none")
