"""Reactive energy of meters over a month, for its power factor.

A counter is looked at once an hour: it needs no more, and a month of a meter is then some 700 short looks along the
primary key instead of two million rows. For a meter without such a counter the mean reactive power of every quarter
hour stands in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import asyncpg
import numpy as np

from emsd.energy.counters import CounterRules
from emsd.energy.demand import TRUSTED_COVERAGE
from emsd.energy.events import MeterEvent, events_of_other_counter, held_out_of_all
from emsd.energy.intervals import spread
from emsd.energy.series import US_PER_S, FloatArray
from emsd.energy.spliced import spliced_increments
from emsd.readings import instant_us
from emsd.store.meter_events import read_events
from emsd.store.pool import Session

__all__ = ["ReactiveEnergy", "read_reactive"]

_QUARTER_H: Final = 0.25
_RULES: Final = CounterRules(max_gap_s=4 * 3600.0)
"""Hours without a look still count as measured, because the counter went on."""

_COUNTERS: Final = ("reactive_energy_import_kvarh", "reactive_energy_export_kvarh")
# Each look is bounded, because an open one asks every chunk; within two polls a reading has come.
_BY_COUNTER: Final = f"""
SELECT wanted.meter_id, array_agg((extract(epoch FROM sample.time) * 1000000)::bigint ORDER BY look) AS time_us,
    {", ".join(f"array_agg({name} ORDER BY look) AS {name}" for name in _COUNTERS)}
FROM unnest($1::integer[]) AS wanted (meter_id) JOIN meter ON meter.meter_id = wanted.meter_id
CROSS JOIN generate_series($2::timestamptz, $3::timestamptz, '1 hour') AS look
CROSS JOIN LATERAL (
    SELECT time, {", ".join(_COUNTERS)} FROM reading
    WHERE meter_id = wanted.meter_id AND time >= look
        AND time < look + make_interval(secs => greatest(300, 2 * meter.poll_interval_s))
        AND ({" OR ".join(f"{name} IS NOT NULL" for name in _COUNTERS)})
    ORDER BY time LIMIT 1
) AS sample
GROUP BY wanted.meter_id
"""  # noqa: S608 - only constants of this module are put together
_BY_POWER: Final = """
SELECT meter_id, sum(abs(avg_value)) AS kvar, count(*) AS quarters
FROM gauge_15m JOIN quantity USING (quantity_id)
WHERE name = 'reactive_power_kvar' AND meter_id = ANY($1::integer[]) AND bucket >= $2 AND bucket < $3
    AND avg_value IS NOT NULL
GROUP BY meter_id"""


@dataclass(frozen=True, slots=True)
class ReactiveEnergy:
    """Reactive energy of some meters, both directions by their absolute values [kvarh], and where it comes from."""

    kvarh: float
    source: Literal["counters", "power"]


async def read_reactive(
    connection: Session, meter_ids: Sequence[int], from_: datetime, to: datetime
) -> ReactiveEnergy | None:
    """Return the reactive energy of all meters in [from_, to); None when less than 90 % of it is known of any."""
    rows = await connection.fetch(_BY_COUNTER, meter_ids, from_, to)
    events = await read_events(connection, meter_ids)
    found = {row["meter_id"]: _by_counter(row, events.get(row["meter_id"], ()), from_, to) for row in rows}
    others = [meter_id for meter_id in meter_ids if meter_id not in found]
    if others:
        rows = await connection.fetch(_BY_POWER, others, from_, to)
        found |= {row["meter_id"]: _by_power(row, from_, to) for row in rows}
    known = [kvarh for kvarh in found.values() if kvarh is not None]
    if not meter_ids or len(known) < len(meter_ids):
        return None
    return ReactiveEnergy(sum(known), "power" if others else "counters")


def _by_counter(row: asyncpg.Record, events: Sequence[MeterEvent], from_: datetime, to: datetime) -> float | None:
    # Two looks may find one reading of a slow meter.
    time_us, places = np.unique(np.array(row["time_us"], dtype=np.int64), return_index=True)
    of_it, held_out = events_of_other_counter(events, by_current=True), held_out_of_all(events, time_us)
    edges_us = np.array([instant_us(from_), instant_us(to)], dtype=np.int64)
    kvarh, covered_s = 0.0, 0.0
    for name in _COUNTERS:
        counter: FloatArray = np.array(row[name], dtype=np.float64)[places]
        if np.isfinite(counter).any():
            counted = spliced_increments(time_us, counter, _RULES, "import_kwh", of_it, held_out)
            buckets = spread(counted, edges_us)
            kvarh += float(np.nansum(buckets.energy_kwh))
            covered_s = max(covered_s, float(buckets.covered_s[0]))
    return kvarh if _enough(covered_s, from_, to) else None


def _by_power(row: asyncpg.Record, from_: datetime, to: datetime) -> float | None:
    covered_s = row["quarters"] * _QUARTER_H * 3600
    return float(row["kvar"]) * _QUARTER_H if _enough(covered_s, from_, to) else None


def _enough(covered_s: float, from_: datetime, to: datetime) -> bool:
    return covered_s * US_PER_S >= TRUSTED_COVERAGE * (instant_us(to) - instant_us(from_))
