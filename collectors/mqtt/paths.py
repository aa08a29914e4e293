"""Paths into a message: dotted keys, `[index]`, and `[*]` for every element of a list."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

__all__ = ["ABSENT", "Step", "follow", "number", "number_in_text", "parse_path"]

ABSENT: Final = object()
"""What a path leads to that a message does not have."""

Step = str | int | None
"""A key of an object, a position in a list, or None for every element of a list."""

_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]|\[(\*)\]")
_NUMBER: Final = re.compile(r"[+-]?(\d{1,60}\.?\d{0,60}|\.\d{1,60})([eE][+-]?\d{1,4})?", re.ASCII)


def parse_path(path: str) -> tuple[Step, ...]:
    """Return the steps of a path of dotted keys, `[index]` and `[*]`.

    Raises:
        ValueError: it is not such a path.
    """
    steps: list[Step] = []
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None or (at == 0 and path.startswith(".")):
            raise ValueError(
                f"path {path!r} cannot be followed from character {at + 1}; write keys as a.b[0].c or a[*]"
            )
        key, position, _every = match.groups()
        steps.append(key if key is not None else int(position) if position is not None else None)
        at = match.end()
    if not steps:
        raise ValueError("an empty path leads nowhere; name a key of the message")
    return tuple(steps)


def follow(node: Any, steps: Sequence[Step]) -> Any:
    """Return what the path leads to, ABSENT for nothing; for `[*]` the list of what it leads to in every element.

    What stands where a list is expected counts as a list of it alone: Tasmota sends `"Power": 5` with one channel and
    `"Power": [5, 6, 7]` with three.
    """
    for position, step in enumerate(steps):
        if isinstance(step, str):
            if not isinstance(node, dict) or step not in node:
                return ABSENT
            node = node[step]
            continue
        elements = node if isinstance(node, list) else [node]
        if step is None:
            rest = steps[position + 1 :]
            found = [follow(element, rest) for element in elements]
            return ABSENT if not found or ABSENT in found else found
        if step >= len(elements):
            return ABSENT
        node = elements[step]
    return node


def number(found: Any, lists: int) -> float | None:
    """Return a JSON number, or the sum of a list of them; None for anything else, booleans and texts too.

    lists  how many levels of lists its path has made
    """
    kind = type(found)
    if lists and kind is list:
        parts = [number(each, lists - 1) for each in found]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None
    return float(found) if not lists and (kind is float or kind is int) else None


def number_in_text(text: str) -> float | None:
    """Return the number that a text is, None when it is none; there is neither `nan` nor `inf`."""
    return float(text) if _NUMBER.fullmatch(text) else None
