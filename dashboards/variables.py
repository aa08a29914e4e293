"""Template variables: the site, and the areas, assets and meters of it that are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from grafana_foundation_sdk.builders.dashboard import QueryVariable
from grafana_foundation_sdk.models.dashboard import VariableOption, VariableRefresh, VariableSort

from .panels import DATASOURCE
from .sql import AREA_TREE, AREAS_CHOSEN, chosen, with_ctes

__all__ = ["areas", "assets", "meters", "one", "priorities", "site"]

_OF_SITE: Final = "site_id::text = ${site:sqlstring}"


def site() -> QueryVariable:
    """Return the variable `site`: one of those in the database."""
    query = "SELECT name AS __text, site_id::text AS __value FROM site ORDER BY site_id"
    return _variable("site", "Site", "Whose figures are shown.", query)


def areas(kind: str | None = None) -> QueryVariable:
    """Return the variable `area`: areas in use, or those with an asset of a kind in them or below them."""
    of_kind = "" if kind is None else f"asset.kind = '{kind}' AND "
    query = f"""{with_ctes(AREA_TREE)}
SELECT DISTINCT area.name AS __text, area.key AS __value
FROM area JOIN area_tree ON area_tree.above_id = area.area_id JOIN asset ON asset.area_id = area_tree.area_id
WHERE {of_kind}asset.removed_at IS NULL
ORDER BY 1"""
    return _several(_variable("area", "Area", "Areas; each stands for those below it too.", query))


def assets(kinds: Sequence[str], *, in_areas: bool = False) -> QueryVariable:
    """Return the variable `asset`: equipment of some kinds, in or below the chosen areas if there are any to choose."""
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    of_areas = f" AND asset.area_id IN ({AREAS_CHOSEN})" if in_areas else ""
    query = f"""{with_ctes(AREA_TREE)}
SELECT asset.name AS __text, asset.key AS __value
FROM asset
WHERE asset.{_OF_SITE} AND asset.removed_at IS NULL AND kind IN ({listed}){of_areas}
ORDER BY 1"""
    return _several(_variable("asset", "Asset", "Equipment that is shown.", query))


def meters(*, of_assets: bool = False) -> QueryVariable:
    """Return the variable `meter`: all, or those of the chosen assets; derived meters only where they have alarms."""
    condition = f" AND {chosen('asset.key', 'asset')}" if of_assets else ""
    query = f"""SELECT meter.name AS __text, meter.key AS __value
FROM meter JOIN asset USING (asset_id)
WHERE meter.{_OF_SITE} AND meter.removed_at IS NULL{condition}
  AND (meter.kind <> 'derived' OR EXISTS (SELECT FROM alarm WHERE alarm.meter_id = meter.meter_id))
ORDER BY 1"""
    return _several(_variable("meter", "Meter", "Meters that are shown.", query))


def priorities() -> QueryVariable:
    """Return the variable `priority` of alarms."""
    query = """SELECT priority AS __text, priority AS __value
FROM unnest(ARRAY['high', 'medium', 'low']) WITH ORDINALITY AS known (priority, place) ORDER BY place"""
    variable = _variable("priority", "Priority", "Alarm priorities that are shown.", query)
    return _several(variable).sort(VariableSort.DISABLED)


def one(name: str, label: str, about: str, query: str) -> QueryVariable:
    """Return a variable of which one option is chosen, the first one at first; `query` gives __text and __value."""
    return _variable(name, label, about, query)


def _variable(name: str, label: str, about: str, query: str) -> QueryVariable:
    return (
        QueryVariable(name)
        .label(label)
        .description(about)
        .datasource(DATASOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_DASHBOARD_LOAD)
        .sort(VariableSort.DISABLED)
    )


def _several(variable: QueryVariable) -> QueryVariable:
    everything = VariableOption(selected=True, text=["All"], value=["$__all"])
    return variable.multi(True).include_all(True).current(everything)
