"""Meters from a CSV list, as a spreadsheet writes it.

Separators are `,` or `;` (Excel where the comma is the decimal sign); with `;` numbers may have a decimal comma. The
first row names the fields of a meter; an empty cell means that the field is absent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

from emsd.errors import Fault
from emsd.plant.csv_rows import cells_of
from emsd.plant.models import Meter
from emsd.plant.source import Place, list_or_hint
from emsd.plant.yaml_source import read_text

__all__ = ["MeterRow", "read_meters_csv"]

_FIELDS: Final = tuple(name for name in Meter.model_fields if name != "residual")  # an entry has no place in a cell
_NUMBERS: Final = frozenset(
    name for name, info in Meter.model_fields.items() if {info.annotation, *get_args(info.annotation)} & {int, float}
)


@dataclass(frozen=True, slots=True)
class MeterRow:
    """One row: the fields that it fills, as text, and its line (1-based)."""

    file: str
    line: int
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """Where a fault in this row is."""
        return Place(self.file, self.line, "")


def read_meters_csv(path: Path) -> tuple[list[MeterRow], list[Fault]]:
    """Return the rows of a list of meters, and what is wrong with its columns and rows; empty rows are passed over.

    Raises:
        PlantError: the file cannot be read, or is not CSV.
    """
    file = str(path)
    text = read_text(path, cure='save it as "CSV UTF-8"')
    separator = ";" if text.partition("\n")[0].count(";") > text.partition("\n")[0].count(",") else ","
    rows = cells_of(file, text, separator)
    line, header = next(rows, (1, []))
    columns = [name.strip().casefold() for name in header]
    while columns and not columns[-1]:  # spreadsheets write separators for empty columns at the right
        columns.pop()
    faults = _column_faults(file, line, columns)
    meters = []
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if any(cell.strip() for cell in cells[len(columns) :]):
            cure = f'put "quotes" around a cell that contains {separator}'
            faults.append(Fault(file, line, "", f"the row has {len(cells)} cells under {len(columns)} columns", cure))
        meters.append(MeterRow(file, line, _meter(columns, cells, decimal_comma=separator == ";")))
    return meters, faults


def _column_faults(file: str, line: int, columns: list[str]) -> list[Fault]:
    if not any(columns):
        cure = f"the first row names the columns: {', '.join(_FIELDS)}"
        return [Fault(file, line, "", "has no columns", cure)]
    faults = []
    for index, name in enumerate(columns):
        if not name:
            faults.append(Fault(file, line, f"column {index + 1}", "has no name", f"columns are: {', '.join(_FIELDS)}"))
        elif name not in _FIELDS:
            cure = list_or_hint(name, _FIELDS, "columns")
            faults.append(Fault(file, line, name, "is not a field of a meter", cure))
        elif name in columns[:index]:
            faults.append(Fault(file, line, name, "is given twice", "remove one of the columns"))
    return faults


def _meter(columns: list[str], cells: list[str], *, decimal_comma: bool) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name, cell in zip(columns, cells, strict=False):
        value = cell.strip()
        if value and name in _FIELDS:
            data[name] = value.replace(",", ".") if decimal_comma and name in _NUMBERS else value
    return data
