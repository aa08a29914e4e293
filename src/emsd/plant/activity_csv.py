"""Activities of Scope 1 from a CSV list: one row a delivery, a meter reading's difference, a bottle.

Columns are the fields of an activity. `period_from` and `period_to` are local days (2026-03-01 to 2026-04-01 is March)
or instants with their offset.
"""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from emsd.energy.ledger.activities import Activity, check_activity
from emsd.energy.windows import local_day_bounds
from emsd.errors import Fault, PlantError
from emsd.plant.csv_rows import CsvRow, read_rows
from emsd.plant.source import in_order

__all__ = ["read_activities"]

_COLUMNS: Final = tuple(name for name in Activity.model_fields if name not in {"version", "author"})
_REQUIRED: Final = ("reference", "kind", "substance", "period_from", "period_to", "amount", "unit", "document")
_NUMBERS: Final = ("amount", "heel", "utilization", "abated_share", "destruction", "factor_kg_per_unit")
_TIMES: Final = ("period_from", "period_to")


def read_activities(path: Path, *, zone: ZoneInfo, author: str) -> list[Activity]:
    """Return the activities of a list; `zone` is the site's.

    Raises:
        PlantError: every fault with file and line.
    """
    rows, faults = read_rows(path, columns=_COLUMNS, required=_REQUIRED, numbers=_NUMBERS)
    activities = []
    lines: dict[str, int] = {}
    for row in rows if not faults else ():
        activity = _activity(row, zone, author, faults)
        if activity is None:
            continue
        if activity.reference in lines:
            problem = f"{activity.reference} stands in line {lines[activity.reference]} already"
            faults.append(row.fault("reference", problem, "give each its own reference"))
        lines[activity.reference] = row.line
        activities.append(activity)
    if not rows and not faults:
        faults.append(Fault(str(path), None, "", "has no rows", "write one for each activity"))
    if faults:
        raise PlantError(in_order(faults))
    return activities


def _activity(row: CsvRow, zone: ZoneInfo, author: str, faults: list[Fault]) -> Activity | None:
    data: dict[str, Any] = {**row.cells, "version": 1, "author": author}
    wrong: list[Fault] = []
    for name in _TIMES:
        try:
            data[name] = _instant(row.cells[name], zone)
        except ValueError:
            cure = "write a local day such as 2026-03-01, or an instant with its offset"
            wrong.append(row.fault(name, f"{row.cells[name]!r} is neither", cure))
    if not wrong:
        try:
            activity = Activity.model_validate(data)
        except ValidationError as error:
            wrong += [row.fault(str(each["loc"][0]), each["msg"], "see docs/carbon.md") for each in error.errors()]
        else:
            wrong += [row.fault(field, problem) for field, problem in check_activity(activity)]
            if not wrong:
                return activity
    faults += wrong
    return None


def _instant(text: str, zone: ZoneInfo) -> datetime:
    try:
        return local_day_bounds(date.fromisoformat(text), zone)[0]
    except ValueError:
        instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(text)
    return instant
