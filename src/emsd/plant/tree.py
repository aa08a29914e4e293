"""Trees written as parents: the areas of a site, and the meters under their incomers.

`parents` maps every key to the key above it, or to None at the top. All functions end on circles too: no key is
visited twice.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ancestors", "children", "circles"]

Parents = Mapping[str, str | None]


def ancestors(key: str, parents: Parents) -> tuple[str, ...]:
    """Return the keys above `key`, nearest first."""
    above: list[str] = []
    parent = parents.get(key)
    while parent is not None and parent != key and parent not in above:
        above.append(parent)
        parent = parents.get(parent)
    return tuple(above)


def children(key: str | None, parents: Parents) -> tuple[str, ...]:
    """Return the keys directly below `key`, or with None those at the top, in the order of `parents`."""
    return tuple(each for each, parent in parents.items() if parent == key)


def circles(parents: Parents) -> list[tuple[str, ...]]:
    """Return every circle once, from its first key in the order of `parents`, each key followed by its parent."""
    found: list[tuple[str, ...]] = []
    done: set[str] = set()
    for start in parents:
        trail: list[str] = []
        key: str | None = start
        while key is not None and key in parents and key not in done:
            done.add(key)
            trail.append(key)
            key = parents[key]
        if key in trail:
            found.append(tuple(trail[trail.index(key) :]))
    return found
