"""From a figure back to the readings: the same arithmetic over the raw samples again, a part at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from emsd.energy.counters import CONTEXT_SAMPLES, CounterRules
from emsd.energy.events import CounterName, MeterEvent
from emsd.energy.evidence import Evidence
from emsd.energy.explanation import evidence_of
from emsd.energy.meters import MeterSamples, energy_of
from emsd.energy.power import PowerMethod
from emsd.energy.series import US_PER_HOUR, FloatArray, TimeArray
from emsd.readings import instant_us
from emsd.store.pool import Session
from emsd.store.samples import SampleRange, SampleRows, read_samples

__all__ = ["DIRECTIONS", "MeterRules", "evidence_of_meter", "rules_from"]

DIRECTIONS: Final = ("import", "export")
_CONTEXT: Final = 2 * CONTEXT_SAMPLES
"""As many as accounting reads around what it computes; with fewer a suspect sample could be judged otherwise."""
_NEAR_S: Final = 2 * 3600.0
_ANYWHERE_S: Final = 20 * 366 * 86_400.0
_PART_US: Final = 6 * US_PER_HOUR
"""What is in memory, and computed before the event loop gets its turn, at once: 21,600 samples of one a second."""


@dataclass(frozen=True, slots=True)
class MeterRules:
    """By what the readings of one meter become energy."""

    meter_id: int
    counter: CounterRules
    has_import: bool
    has_export: bool
    power_method: PowerMethod

    @property
    def by_counter(self) -> bool:
        """Whether the meter has an energy counter; else its power is integrated."""
        return self.has_import or self.has_export


def rules_from(meter_id: int, recorded: Mapping[str, object]) -> MeterRules:
    """Return the rules that an accounting version recorded."""
    counter = recorded["rules"]
    assert isinstance(counter, dict)  # noqa: S101 - an object of JSON
    method: PowerMethod = "left_hold" if recorded["power_method"] == "left_hold" else "trapezoid"
    return MeterRules(
        meter_id, CounterRules(**counter), bool(recorded["has_import"]), bool(recorded["has_export"]), method
    )


async def evidence_of_meter(
    connection: Session,
    rules: MeterRules,
    events: Sequence[MeterEvent],
    from_: datetime,
    to: datetime,
    *,
    kept_from_us: int = 0,
) -> dict[str, Evidence]:
    """Return what the raw readings say of the energy of one meter in [from_, to), by direction that it measures.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    from_us, to_us = instant_us(from_), instant_us(to)
    found: dict[str, Evidence] = {}
    for begin_us in range(from_us, to_us, _PART_US):
        part = (begin_us, min(begin_us + _PART_US, to_us))
        rows = await _read_part(connection, rules, part, kept_from_us)
        if rows is None:
            continue
        samples = MeterSamples(
            rows.time_us,
            import_kwh=rows.import_kwh if rules.has_import else None,
            export_kwh=rows.export_kwh if rules.has_export else None,
            power_kw=rows.power_kw,
        )
        both = energy_of(samples, rules.counter, rules.power_method, events)
        for direction, series, column in zip(DIRECTIONS, both, _columns(rules, rows), strict=True):
            if series is None:
                continue
            times_us, values = _readings(rows.time_us, column, events if rules.by_counter else (), direction)
            evidence = evidence_of(
                series, times_us, values, by_counter=rules.by_counter, from_us=from_us, to_us=to_us, part=part
            )
            found[direction] = found.get(direction, Evidence()) + evidence
        await asyncio.sleep(0)
    return found


def _columns(rules: MeterRules, rows: SampleRows) -> tuple[FloatArray, FloatArray]:
    return (rows.import_kwh, rows.export_kwh) if rules.by_counter else (rows.power_kw, rows.power_kw)


def _readings(
    time_us: TimeArray, column: FloatArray, events: Sequence[MeterEvent], direction: str
) -> tuple[TimeArray, FloatArray]:
    """Return the usable samples of a column, and what people read off the counter; at one instant the sample counts."""
    usable = np.isfinite(column)
    times_us, values = time_us[usable], column[usable]
    counter: CounterName = "import_kwh" if direction == "import" else "export_kwh"
    written = {event.at_us: value for event in events if (value := event.reading.of(counter)) is not None}
    if written:
        all_us = np.concatenate((times_us, np.array(list(written), dtype=np.int64)))
        values = np.concatenate((values, list(written.values())))
        times_us, first = np.unique(all_us, return_index=True)
        values = values[first]
    return times_us, values


async def _read_part(
    connection: Session, rules: MeterRules, part: tuple[int, int], kept_from_us: int
) -> SampleRows | None:
    """Return the samples of a part and, on either side, as many of each series as a judgement may need."""
    rows: SampleRows | None = None
    for reach_s in (_NEAR_S, _ANYWHERE_S):
        found = await read_samples(
            connection,
            [SampleRange(rules.meter_id, *part)],
            by_counter=rules.by_counter,
            each_counter=rules.has_import and rules.has_export,
            context=_CONTEXT,
            reach_s=reach_s,
            kept_from_us=kept_from_us,
        )
        rows = found.get(rules.meter_id)
        if rows is not None and _is_enough(rules, rows, part):
            break
    return rows


def _is_enough(rules: MeterRules, rows: SampleRows, part: tuple[int, int]) -> bool:
    measured = (rules.has_import, rules.has_export) if rules.by_counter else (True, False)
    for has, column in zip(measured, _columns(rules, rows), strict=True):
        times_us = rows.time_us[np.isfinite(column)]
        if has and (np.searchsorted(times_us, part[0]) < _CONTEXT or np.sum(times_us >= part[1]) < _CONTEXT):
            return False
    return True
