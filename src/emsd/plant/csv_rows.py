"""Rows of a CSV list by the names of their columns, as a spreadsheet writes it.

Separators are `,` or `;` (Excel where the comma is the decimal sign); with `;` numbers may have a decimal comma. Empty
rows are passed over, and an empty cell is as good as none.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emsd.errors import Fault, PlantError
from emsd.plant.source import list_or_hint
from emsd.plant.yaml_source import read_text

__all__ = ["CsvRow", "cells_of", "read_rows"]


@dataclass(frozen=True, slots=True)
class CsvRow:
    """The cells of one row that are not empty, by column, and the line on which it begins (1-based)."""

    file: str
    line: int
    cells: dict[str, str]

    def fault(self, column: str, problem: str, cure: str = "") -> Fault:
        """Return what is wrong with a cell of this row."""
        return Fault(self.file, self.line, column, problem, cure)


def read_rows(
    path: Path, *, columns: Sequence[str], required: Sequence[str], numbers: Collection[str]
) -> tuple[list[CsvRow], list[Fault]]:
    """Return the rows of a list whose first row names its columns, and what is wrong with columns and rows.

    `columns` are those that there may be, `required` those that every row must fill, `numbers` those with numbers.

    Raises:
        PlantError: the file cannot be read, or is not CSV.
    """
    file = str(path)
    text = read_text(path, cure='save it as "CSV UTF-8"')
    first = text.partition("\n")[0]
    separator = ";" if first.count(";") > first.count(",") else ","
    cells = cells_of(file, text, separator)
    line, header = next(cells, (1, []))
    names = [name.strip().casefold() for name in header]
    while names and not names[-1]:
        names.pop()
    faults = list(_column_faults(file, line, names, columns, required))
    if faults:
        return [], faults
    rows = []
    for line, row in cells:
        filled = {name: cell.strip() for name, cell in zip(names, row, strict=False) if cell.strip()}
        if not any(cell.strip() for cell in row):
            continue
        if any(cell.strip() for cell in row[len(names) :]):
            cure = f'put "quotes" around a cell that contains {separator}'
            faults.append(Fault(file, line, "", f"the row has {len(row)} cells under {len(names)} columns", cure))
        if separator == ";":
            filled = {name: cell.replace(",", ".") if name in numbers else cell for name, cell in filled.items()}
        faults += [Fault(file, line, name, "is missing", "fill it in") for name in required if name not in filled]
        rows.append(CsvRow(file, line, filled))
    return rows, faults


def cells_of(file: str, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the line it begins on; a quoted cell may run over several lines.

    Raises:
        PlantError: the text is not valid CSV.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    begins = 1
    try:
        for cells in reader:
            yield begins, cells
            begins = reader.line_num + 1
    except csv.Error as error:
        cure = 'check the quotes here; save the list as "CSV UTF-8"'
        raise PlantError([Fault(file, begins, "", f"is not valid CSV: {error}", cure)]) from None


def _column_faults(
    file: str, line: int, names: Sequence[str], columns: Sequence[str], required: Sequence[str]
) -> Iterator[Fault]:
    for index, name in enumerate(names):
        if name not in columns:
            yield Fault(
                file,
                line,
                name or f"column {index + 1}",
                "is no column of this list",
                list_or_hint(name, columns, "columns"),
            )
        elif name in names[:index]:
            yield Fault(file, line, name, "is given twice", "remove one of the columns")
    for name in required:
        if name not in names:
            yield Fault(file, line, name, "is not among the columns", f"the first row names them: {','.join(columns)}")
