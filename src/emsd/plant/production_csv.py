"""Counts of production from a CSV list, as a spreadsheet or an MES writes it.

Separators are `,` or `;`; with `;` numbers may have a decimal comma. The first row names the columns.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from emsd.errors import Fault, PlantError
from emsd.plant.source import list_or_hint
from emsd.plant.yaml_source import read_text

__all__ = ["read_counts_csv"]

_REQUIRED: Final = ("external_id", "product", "from", "to", "units")
_COLUMNS: Final = (*_REQUIRED, "stage", "good_units", "withdrawn", "note")
_YES: Final = frozenset({"1", "true", "yes", "x"})
_NO: Final = frozenset({"", "0", "false", "no"})


def read_counts_csv(path: Path) -> list[dict[str, Any]]:
    """Return the counts of a list: the fields of a new count each.

    Raises:
        PlantError: all faults of the file, each with its line.
    """
    text = read_text(path, cure='save it as "CSV UTF-8"')
    first = text.partition("\n")[0]
    separator = ";" if first.count(";") > first.count(",") else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    columns = [name.strip().casefold() for name in reader.fieldnames or ()]
    reader.fieldnames = columns
    faults = list(_column_faults(str(path), columns))
    counts: list[dict[str, Any]] = []
    if not faults:
        seen: dict[str, int] = {}
        try:
            for row in reader:
                place = (str(path), reader.line_num)
                counts.append(_count(place, row, faults, decimal_comma=separator == ";"))
                earlier = seen.setdefault(counts[-1]["external_id"], reader.line_num)
                if earlier != reader.line_num:
                    problem = f"{counts[-1]['external_id']} stands in line {earlier} too"
                    faults.append(Fault(*place, "external_id", problem, "give each count its own"))
        except csv.Error as error:
            faults.append(Fault(str(path), reader.line_num, "", f"is not valid CSV: {error}", "check the quotes here"))
    if faults:
        raise PlantError(faults)
    return counts


def _column_faults(file: str, columns: Iterable[str]) -> Iterable[Fault]:
    given = list(columns)
    for name in _REQUIRED:
        if name not in given:
            yield Fault(file, 1, name, "is missing", f"the first row names the columns: {', '.join(_COLUMNS)}")
    for name in given:
        if name not in _COLUMNS:
            yield Fault(file, 1, name, "is no column of a count", list_or_hint(name, _COLUMNS, "columns"))


def _count(
    place: tuple[str, int], row: Mapping[str, str | None], faults: list[Fault], *, decimal_comma: bool
) -> dict[str, Any]:
    cells = {name: (row.get(name) or "").strip() for name in _COLUMNS}

    def number(name: str) -> float:
        text = cells[name].replace(",", ".") if decimal_comma else cells[name]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            faults.append(Fault(*place, name, f"{cells[name]!r} is no number from 0 up", "write units as a number"))
        return value

    def instant(name: str) -> datetime | None:
        value: datetime | None = None
        with suppress(ValueError):
            value = datetime.fromisoformat(cells[name])
        if value is None or value.tzinfo is None:
            cure = "write it with its offset, such as 2026-01-31T08:00:00+08:00"
            faults.append(Fault(*place, name, f"{cells[name]!r} is no instant", cure))
            return None
        return value

    faults += [Fault(*place, name, "is empty", "fill it in") for name in ("external_id", "product") if not cells[name]]
    if cells["withdrawn"].casefold() not in _YES | _NO:
        faults.append(Fault(*place, "withdrawn", f"{cells['withdrawn']!r} is neither yes nor no", "write yes or no"))
    begin, end, units = instant("from"), instant("to"), number("units")
    good_units = number("good_units") if cells["good_units"] else None
    if begin is not None and end is not None and begin >= end:
        faults.append(Fault(*place, "to", "is not after from", "check both"))
    if good_units is not None and good_units > units:
        faults.append(Fault(*place, "good_units", "is more than units", "units include the good ones"))
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
