"""Emission factors by the hour from a CSV list: timestamp, kg_per_kwh, source.

A timestamp carries its offset (2026-10-25T02:00:00+02:00), because on the day that has an hour twice nothing else tells
the two apart; the factor holds from then on for as long as the list's resolution says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from emsd.energy.factors import HourlyFactor
from emsd.energy.ledger.exact import exact
from emsd.errors import Fault, PlantError
from emsd.plant.csv_rows import CsvRow, read_rows
from emsd.plant.source import in_order

__all__ = ["read_factor_hours"]

_COLUMNS: Final = ("timestamp", "kg_per_kwh", "source")
_QUARTER: Final = timedelta(minutes=15)
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_HIGHEST: Final = Decimal(5)
_SHORTEST_SOURCE: Final = 3


class _Hour(NamedTuple):
    begins_at: datetime
    kg_per_kwh: Decimal
    source: str
    row: CsvRow


def read_factor_hours(path: Path, *, resolution: timedelta, allow_gaps: bool = False) -> list[HourlyFactor]:
    """Return the factors of a list in order of time; each holds for `resolution`.

    Raises:
        PlantError: every fault with file and line: a wrong cell, two rows that overlap, and, unless `allow_gaps`, time
            between two rows that has no factor.
    """
    rows, faults = read_rows(path, columns=_COLUMNS, required=_COLUMNS, numbers=("kg_per_kwh",))
    hours = []
    for row in rows:
        hour = _hour(row, faults)
        if hour is not None:
            hours.append(hour)
    hours.sort(key=lambda each: (each.begins_at, each.row.line))
    faults += _overlaps_and_gaps(hours, resolution, allow_gaps=allow_gaps)
    if not rows and not faults:
        faults.append(Fault(str(path), None, "", "has no rows", "write one for each hour"))
    if faults:
        raise PlantError(in_order(faults))
    return [HourlyFactor(each.begins_at, each.begins_at + resolution, each.kg_per_kwh, each.source) for each in hours]


def _hour(row: CsvRow, faults: list[Fault]) -> _Hour | None:
    known = len(faults)
    begins_at = _instant(row, faults)
    kg = _kg_per_kwh(row, faults)
    source = row.cells.get("source", "")
    if 0 < len(source) < _SHORTEST_SOURCE:
        faults.append(row.fault("source", f"{source!r} says nothing", "write who published it, and when"))
    if begins_at is None or kg is None or len(faults) > known:
        return None
    return _Hour(begins_at, kg, source, row)


def _instant(row: CsvRow, faults: list[Fault]) -> datetime | None:
    text = row.cells.get("timestamp")
    if text is None:
        return None
    cure = "write it with its offset, such as 2026-10-25T02:00:00+02:00"
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        faults.append(row.fault("timestamp", f"{text!r} is no time", cure))
        return None
    if instant.tzinfo is None:
        faults.append(row.fault("timestamp", f"{text} has no offset from UTC", cure))
        return None
    if (instant - _EPOCH) % _QUARTER:
        faults.append(row.fault("timestamp", f"{text} is not on a quarter of an hour", "energy is kept by the quarter"))
        return None
    return instant


def _kg_per_kwh(row: CsvRow, faults: list[Fault]) -> Decimal | None:
    text = row.cells.get("kg_per_kwh")
    if text is None:
        return None
    try:
        kg = exact(text)
    except ValueError:
        faults.append(
            row.fault("kg_per_kwh", f"{text!r} is not a number", "write emissions [kgCO2/kWh], such as 0.5306")
        )
        return None
    if not 0 <= kg <= _HIGHEST:
        cure = "write kilograms of a kilowatt-hour: g/kWh divided by 1000"
        faults.append(row.fault("kg_per_kwh", f"{text} is not 0..{_HIGHEST}", cure))
        return None
    return kg


def _overlaps_and_gaps(hours: Sequence[_Hour], resolution: timedelta, *, allow_gaps: bool) -> Iterator[Fault]:
    for earlier, later in pairwise(hours):
        ends_at = earlier.begins_at + resolution
        if later.begins_at < ends_at:
            begins = later.begins_at.isoformat()
            problem = f"{begins} overlaps line {earlier.row.line}, which ends {ends_at.isoformat()}"
            yield later.row.fault("timestamp", problem, "remove one of them, or give the right --resolution-minutes")
        elif later.begins_at > ends_at and not allow_gaps:
            problem = f"leaves no factor from {ends_at.isoformat()} to {later.begins_at.isoformat()}"
            yield later.row.fault(
                "timestamp", problem, "add the hours, or let the yearly factor apply with --allow-gaps"
            )
