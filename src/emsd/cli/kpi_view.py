"""Which key figures of a plant's assets can be computed, and what the others lack, for people in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from emsd.energy.kpi import kpis_of_kind
from emsd.plant.kpi import kpis_of_plant
from emsd.plant.loader import LoadedPlant

__all__ = ["kpi_document", "kpi_tables"]


def kpi_tables(loaded: LoadedPlant) -> Iterator[Padding]:
    """Yield one table: an asset a row, its key figures, and what is missing for the rest; none without assets."""
    assets = kpis_of_plant(loaded)
    if not assets:
        return
    table = Table("Asset", "Key figures", "Lacking", title="Key figures", title_justify="left")
    for asset in assets.values():
        ready: list[str] = []
        lacking: dict[str, list[str]] = {}
        for definition in kpis_of_kind(asset.kind.value):
            reasons = asset.lacks(definition)
            if reasons:
                lacking.setdefault("; ".join(reasons), []).append(definition.name)
            else:
                ready.append(definition.name)
        why = "\n".join(f"{', '.join(names)}: {reason}" for reason, names in lacking.items())
        table.add_row(asset.asset, ", ".join(ready) or "-", escape(why) or "-")
    yield Padding(table, (1, 0, 0, 0), expand=False)


def kpi_document(loaded: LoadedPlant) -> list[dict[str, object]]:
    """Return the same for machines."""
    return [
        {
            "asset": asset.asset,
            "kpi": definition.name,
            "lacking": asset.lacks(definition),
            "inputs": {
                name: [{"meter": part.meter, "quantity": part.quantity} for part in asset.sources[name].parts]
                for name in definition.inputs
                if name in asset.sources
            },
        }
        for asset in kpis_of_plant(loaded).values()
        for definition in kpis_of_kind(asset.kind.value)
    ]
