"""Prices that change by the hour, from CSV lists as exchanges and suppliers hand them out.

The first row names the columns `time` and `price_per_kwh`; others are passed over. A time carries its offset
(2026-10-25T02:00:00+02:00), because on the day that has an hour twice nothing else tells the two apart.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from emsd.errors import Fault, PlantError
from emsd.plant.named_paths import named_path
from emsd.plant.source import Finding, Place, Source, Where
from emsd.plant.yaml_source import read_text

__all__ = ["DynamicPriceLists", "read_dynamic_prices"]

_COLUMNS: Final = ("time", "price_per_kwh")


@dataclass(slots=True)
class DynamicPriceLists:
    """A source with the prices of all lists in it, and what is wrong with the lists."""

    source: Source
    faults: list[Fault] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def read_dynamic_prices(source: Source, folder: Path) -> DynamicPriceLists:
    """Return the source with the rows of every tariff's `dynamic_prices_csv` as further `dynamic_prices`.

    Each has its own file and line. What is no text, or no list, is left to the models.
    """
    lists = DynamicPriceLists(source)
    tariffs = source.data.get("tariffs") if isinstance(source.data, dict) else None
    if not isinstance(tariffs, list):
        return lists
    changed = list(tariffs)
    places = dict(source.places)
    for index, tariff in enumerate(tariffs):
        names = tariff.get("dynamic_prices_csv") if isinstance(tariff, dict) else None
        written = tariff.get("dynamic_prices") if isinstance(tariff, dict) else None
        if not isinstance(names, list) or not isinstance(written, list | None):
            continue
        prices = list(written or [])
        for place in range(len(names)):
            for at, price in _rows_of(lists, ("tariffs", index, "dynamic_prices_csv", place), folder):
                where = ("tariffs", index, "dynamic_prices", len(prices))
                places[where] = at
                places.update({(*where, column): Place(at.file, at.line, column) for column in price})
                prices.append(price)
        changed[index] = {**tariff, "dynamic_prices": prices}
    lists.source = Source(source.file, {**source.data, "tariffs": changed}, places, source.written)
    return lists


def _rows_of(lists: DynamicPriceLists, where: Where, folder: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    path = named_path(lists.source, where, folder, lists.findings)
    if path is None:
        return
    try:
        text = read_text(path, cure='save it as "CSV UTF-8"')
        yield from _prices(str(path), text, lists.faults)
    except PlantError as error:
        lists.faults.extend(error.faults)


def _prices(file: str, text: str, faults: list[Fault]) -> Iterator[tuple[Place, dict[str, Any]]]:
    header = text.partition("\n")[0]
    separator = ";" if header.count(";") > header.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        columns = [name.strip().casefold() for name in next(reader, [])]
        missing = [name for name in _COLUMNS if name not in columns]
        if missing:
            faults.append(Fault(file, 1, missing[0], "is not among the columns", f"name them {','.join(_COLUMNS)}"))
            return
        wanted = [columns.index(name) for name in _COLUMNS]
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield _price(file, reader.line_num, cells, wanted, decimal_comma=separator == ";")
    except csv.Error as error:
        cure = 'check the quotes here; save the list as "CSV UTF-8"'
        faults.append(Fault(file, reader.line_num, "", f"is not valid CSV: {error}", cure))


def _price(
    file: str, line: int, cells: list[str], wanted: list[int], *, decimal_comma: bool
) -> tuple[Place, dict[str, Any]]:
    time, price = (cells[place].strip() if place < len(cells) else "" for place in wanted)
    found: dict[str, Any] = {}
    if time:
        found["time"] = _instant(time)
    if price:
        found["price_per_kwh"] = price.replace(",", ".") if decimal_comma else price
    return Place(file, line, ""), found


def _instant(text: str) -> datetime | str:
    """Return a time as what it is; one that is no instant stays text, and the models say what is wrong with it."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return text
    return found if found.tzinfo is not None else text
