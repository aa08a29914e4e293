"""Files and folders that a description names, relative to itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from emsd.plant.source import Finding, Source, Where

__all__ = ["named_path"]


def named_path(
    source: Source,
    where: Where,
    folder: Path,
    findings: list[Finding],
    *,
    what: str = "a file",
    exists: Callable[[Path], bool] = Path.is_file,
) -> Path | None:
    """Return what the value at a place of the source names in `folder`; None: it is no text, or a finding more.

    what    is to be there, as a person says it; `exists` tells
    """
    name = _value(source.data, where)
    if not isinstance(name, str):
        return None  # left to the models
    path = folder / name.strip()
    if "\0" not in name and exists(path):
        return path
    problem = f"{source.shown(where, name)}is not {what} in {folder}"
    findings.append(Finding(where, problem, "write its path relative to this file"))
    return None


def _value(data: Any, where: Where) -> Any:
    for part in where:
        data = data[part]
    return data
