"""Sums of energy for a statement: exact, and as small for a thousand meters as for one.

A meter's quarter hours become one sum a slot, each rounded to a milliwatt-hour, far below any meter's resolution. From
there on whole numbers are added, so that the sums of all meters by slot and those of each meter by month agree exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emsd.energy.ledger.inputs import EnergyColumn, MeterColumn, MeterRole
from emsd.energy.series import BUCKET_15M_US, US_PER_S, FloatArray, TimeArray

__all__ = ["ColumnSums", "MeterEnergy"]

_PARTS_PER_UNIT: Final = 1_000_000
"""Millionths of a kilowatt-hour, and of a second."""
_PLACES: Final = -6
_QUARTER_S: Final = BUCKET_15M_US / US_PER_S
_DIRECTIONS: Final = ("import_kwh", "export_kwh")
_ADDED: Final = ("estimated_import_kwh", "estimated_export_kwh", "due_s", "known_s", "covered_s")


@dataclass(frozen=True, slots=True, eq=False)
class MeterEnergy:
    """Quarter hours of one meter in which it counted, float64[k] each.

    import_kwh, export_kwh                      [kWh], NaN where unknown; the estimates of long gaps are in them
    estimated_import_kwh, estimated_export_kwh  [kWh], the part of it that was not measured
    coverage                                    0..1, measured share
    counted                                     bool[k], whether the meter spoke for the site then; None: always
    """

    meter_id: int
    key: str
    role: MeterRole
    import_kwh: FloatArray
    export_kwh: FloatArray
    estimated_import_kwh: FloatArray
    estimated_export_kwh: FloatArray
    coverage: FloatArray
    counted: NDArray[np.bool_] | None = None
    computed_at: datetime | None = None
    versions: tuple[int, ...] = ()


class ColumnSums:
    """The sums of the meters of one role, slot by slot; meters may come in any portions.

    Args:
        quarters: k, how many quarter hours there are.
        starts: int64[n], the quarter hour at which each slot begins.
        month_starts: int64[m], the slot at which each month begins.
    """

    def __init__(self, quarters: int, starts: TimeArray, month_starts: TimeArray) -> None:
        self._quarters, self._starts, self._month_starts = quarters, starts, month_starts
        self._sums = {name: np.zeros(starts.size, dtype=np.int64) for name in (*_DIRECTIONS, *_ADDED)}
        self._known = {name: np.zeros(starts.size, dtype=np.bool_) for name in _DIRECTIONS}

    def add(self, meter: MeterEnergy) -> MeterColumn:
        """Add a meter to the slots, and return its own sums by month."""
        sums, known = self._of_slots(meter)
        for name, values in sums.items():
            self._sums[name] += values
        for name, is_known in known.items():
            self._known[name] |= is_known
        by_month = {name: np.add.reduceat(values, self._month_starts) for name, values in sums.items()}
        known_by_month = {name: np.logical_or.reduceat(each, self._month_starts) for name, each in known.items()}
        return MeterColumn(
            meter_id=meter.meter_id,
            key=meter.key,
            role=meter.role,
            computed_at=meter.computed_at,
            versions=meter.versions,
            **_texts(by_month, known_by_month),
        )

    def column(self) -> EnergyColumn:
        """Return the sums of all meters that were added, by slot."""
        return EnergyColumn(**_texts(self._sums, self._known))

    def _of_slots(self, meter: MeterEnergy) -> tuple[dict[str, TimeArray], dict[str, NDArray[np.bool_]]]:
        counted = np.ones(self._quarters, dtype=np.bool_) if meter.counted is None else meter.counted
        sums, known = {}, {}
        for name in _DIRECTIONS:
            values: FloatArray = getattr(meter, name)
            of_direction = counted & ~np.isnan(values)
            known[name] = np.logical_or.reduceat(of_direction, self._starts)
            sums[name] = self._parts(np.where(of_direction, values, 0.0))
            sums[f"estimated_{name}"] = self._parts(np.where(of_direction, getattr(meter, f"estimated_{name}"), 0.0))
        either = counted & ~(np.isnan(meter.import_kwh) & np.isnan(meter.export_kwh))
        sums["due_s"] = self._parts(np.where(counted, _QUARTER_S, 0.0))
        sums["known_s"] = self._parts(np.where(either, _QUARTER_S, 0.0))
        sums["covered_s"] = self._parts(np.where(counted, meter.coverage * _QUARTER_S, 0.0))
        return sums, known

    def _parts(self, values: FloatArray) -> TimeArray:
        sums: FloatArray = np.add.reduceat(values, self._starts)
        return np.rint(sums * _PARTS_PER_UNIT).astype(np.int64)


def _texts(sums: dict[str, TimeArray], known: dict[str, NDArray[np.bool_]]) -> dict[str, Sequence[Decimal | None]]:
    columns: dict[str, Sequence[Decimal | None]] = {}
    for name, values in sums.items():
        exact = [Decimal(part).scaleb(_PLACES) for part in values.tolist()]
        is_known = known[name].tolist() if name in known else [True] * len(exact)
        columns[name] = tuple(each if it else None for each, it in zip(exact, is_known, strict=True))
    return columns
