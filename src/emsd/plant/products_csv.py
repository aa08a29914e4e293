"""Products from a CSV list, as a spreadsheet or an MES writes it.

The first row names the columns `key`, `name`, `area_m2`, and for every stage of the line one such as `passes.array`, in
the order of the line; an empty cell means that the product does not pass the stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from emsd.errors import Fault, PlantError
from emsd.plant.csv_rows import CsvRow, read_rows
from emsd.plant.named_paths import named_path
from emsd.plant.source import Finding, Place, Source, Where

__all__ = ["ProductLists", "read_products"]

_FIELDS: Final = ("key", "name", "area_m2")
_PASSES: Final = "passes."


@dataclass(slots=True)
class ProductLists:
    """A source with the products of all lists in it, and what is wrong with the lists."""

    source: Source
    faults: list[Fault] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def read_products(source: Source, folder: Path) -> ProductLists:
    """Return the source with the rows of `production.products_csv` as further products, each with its file and line.

    What is no text, or no list, is left to the models.
    """
    lists = ProductLists(source)
    production = source.data.get("production") if isinstance(source.data, dict) else None
    if not isinstance(production, dict):
        return lists
    names, written = production.get("products_csv"), production.get("products")
    if not isinstance(names, list) or not isinstance(written, list | None):
        return lists
    stages = _stages(source.data)
    products = list(written or [])
    places = dict(source.places)
    for number in range(len(names)):
        for row in _rows_of(lists, ("production", "products_csv", number), folder, stages):
            where: Where = ("production", "products", len(products))
            product, columns = _product(row, stages)
            places[where] = Place(row.file, row.line, "")
            places |= {(*where, *path): Place(row.file, row.line, column) for path, column in columns.items()}
            products.append(product)
    data = {**source.data, "production": {**production, "products": products}}
    lists.source = Source(source.file, data, places, source.written)
    return lists


def _stages(data: dict[str, Any]) -> dict[str, str]:
    """Return the stages that areas have, by the names of their columns."""
    areas = data.get("areas")
    said = (each.get("stage") for each in areas if isinstance(each, dict)) if isinstance(areas, list) else ()
    return {f"{_PASSES}{stage}".casefold(): stage for stage in dict.fromkeys(said) if isinstance(stage, str)}


def _rows_of(lists: ProductLists, where: Where, folder: Path, stages: dict[str, str]) -> Iterator[CsvRow]:
    path = named_path(lists.source, where, folder, lists.findings)
    if path is None:
        return
    try:
        rows, faults = read_rows(path, columns=(*_FIELDS, *stages), required=_FIELDS, numbers=("area_m2", *stages))
    except PlantError as error:
        lists.faults.extend(error.faults)
        return
    lists.faults.extend(faults)
    yield from rows


def _product(row: CsvRow, stages: dict[str, str]) -> tuple[dict[str, Any], dict[Where, str]]:
    """Return a product as an entry of the document, and the column of each of its values."""
    product: dict[str, Any] = {name: row.cells[name] for name in _FIELDS if name in row.cells}
    passes = {stages[name]: cell for name, cell in row.cells.items() if name in stages}
    columns: dict[Where, str] = {(name,): name for name in product}
    columns |= {("passes", stage): f"{_PASSES}{stage}" for stage in passes}
    return product | {"passes": passes}, columns
