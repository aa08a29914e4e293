"""Counts of production from a CSV list, as a spreadsheet or an MES writes it."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from emsd.errors import Fault, PlantError
from emsd.plant.csv_rows import CsvRow, read_rows
from emsd.plant.source import in_order

__all__ = ["MOST_UNITS", "read_counts_csv"]

MOST_UNITS: Final = 1e12
"""Units of one count; more is a slip of the pen."""

_REQUIRED: Final = ("external_id", "product", "from", "to", "units")
_COLUMNS: Final = (*_REQUIRED, "stage", "good_units", "withdrawn", "note")
_YES: Final = frozenset({"1", "true", "yes", "x"})
_NO: Final = frozenset({"", "0", "false", "no"})
_NUMBER: Final = re.compile(r"\d{1,20}([.,]\d{1,20})?([eE][+-]?\d{1,3})?", re.ASCII)
_THOUSANDS: Final = re.compile(r"[1-9]\d{0,2}([.,]\d{3})+", re.ASCII)
_LONGEST: Final = {"external_id": 200, "product": 200, "stage": 200, "note": 2000}
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def read_counts_csv(path: Path) -> list[dict[str, Any]]:
    """Return the counts of a list: the fields of a new count each.

    Raises:
        PlantError: all faults of the file, each with its line.
    """
    # Numbers are read here: what "12.000" means must not depend on the separator.
    rows, faults = read_rows(path, columns=_COLUMNS, required=_REQUIRED, numbers=())
    if not rows and not faults:
        faults.append(Fault(str(path), None, "", "has no counts", "write one in each row"))
    counts: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for row in rows:
        counts.append(_count(row, faults))
        external_id = counts[-1]["external_id"]
        earlier = seen.setdefault(external_id, row.line)
        if external_id and earlier != row.line:
            problem = f"{external_id} stands in line {earlier} too"
            faults.append(row.fault("external_id", problem, "give each count its own"))
    if faults:
        raise PlantError(in_order(faults))
    return counts


def _count(row: CsvRow, faults: list[Fault]) -> dict[str, Any]:
    cells = {name: row.cells.get(name, "") for name in _COLUMNS}
    for name, most in _LONGEST.items():
        if len(cells[name]) > most or _CONTROL.search(cells[name]):
            faults.append(row.fault(name, "is too long, or has control characters", f"at most {most} characters"))
    if cells["withdrawn"].casefold() not in _YES | _NO:
        faults.append(row.fault("withdrawn", f"{cells['withdrawn']!r} is neither yes nor no", "write yes or no"))
    begin, end = _instant(row, "from", faults), _instant(row, "to", faults)
    units, good_units = _number(row, "units", faults), _number(row, "good_units", faults)
    if begin is not None and end is not None and begin >= end:
        faults.append(row.fault("to", "is not after from", "check both"))
    if units is not None and good_units is not None and good_units > units:
        faults.append(row.fault("good_units", "is more than units", "units include the good ones"))
    return {
        "external_id": cells["external_id"],
        "product": cells["product"],
        "from_time": begin,
        "to_time": end,
        "units": units,
        "good_units": good_units,
        "stage": cells["stage"] or None,
        "withdrawn": cells["withdrawn"].casefold() in _YES,
        "note": cells["note"],
    }


def _number(row: CsvRow, name: str, faults: list[Fault]) -> float | None:
    """Return the number in a cell, None for an empty one; with a comma or a point, whatever separates the cells."""
    text = row.cells.get(name)
    if text is None:
        return None
    if _THOUSANDS.fullmatch(text):
        plain = re.sub(r"[.,]", "", text)
        cure = f"write {plain} or {text.replace(',', '.')}0, without separators of thousands"
        faults.append(row.fault(name, f"{text!r} may be {plain} or a fraction", cure))
        return None
    value = float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else -1.0
    if not 0 <= value <= MOST_UNITS:
        faults.append(row.fault(name, f"{text!r} is no number from 0 to {MOST_UNITS:g}", "write units as a number"))
        return None
    return value


def _instant(row: CsvRow, name: str, faults: list[Fault]) -> datetime | None:
    text = row.cells.get(name)
    if text is None:
        return None
    with suppress(ValueError):
        value = datetime.fromisoformat(text)
        if value.tzinfo is not None:
            return value
    cure = "write it with its offset, such as 2026-01-31T08:00:00+08:00"
    faults.append(row.fault(name, f"{text!r} is no instant", cure))
    return None
