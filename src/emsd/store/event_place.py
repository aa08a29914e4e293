"""Which reading is the first after a swap or a reset that a person wrote down.

People write times to the minute, and their watch is not the collector's clock; the readings show to the poll where the
counter left its track. So the move of the counter that lies nearest to the written time tells on which side of the
event a reading stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from emsd.energy.counters import CounterRules
from emsd.energy.events import MeterEvent
from emsd.energy.meters import MeterSamples, energy_of
from emsd.energy.series import US_PER_HOUR, IncrementFlag, Increments
from emsd.store.pool import Session
from emsd.store.samples import SampleRange, read_samples

__all__ = ["first_sample_after"]

_REACH_US: Final = US_PER_HOUR
"""How far from the written time the counter's move is looked for [us]."""
_MOVED: Final = int(IncrementFlag.RESET | IncrementFlag.STEP)


async def first_sample_after(
    connection: Session, meter_id: int, event: MeterEvent, known: Sequence[MeterEvent]
) -> int | None:
    """Return the time [us] of the first sample after a swap or reset, where it does not follow from the written time.

    None when the counters make no move within an hour of it, or make it across that very time.
    """
    meter = await connection.fetchrow("SELECT rated_power_kw, max_gap_s FROM meter WHERE meter_id = $1", meter_id)
    if meter is None:
        return None
    rows = await read_samples(
        connection,
        [SampleRange(meter_id, event.at_us - _REACH_US, event.at_us + _REACH_US)],
        by_counter=True,
        context=8,
        reach_s=86_400.0,
    )
    if meter_id not in rows:
        return None
    samples = rows[meter_id]
    counted = energy_of(
        MeterSamples(samples.time_us, samples.import_kwh, samples.export_kwh),
        CounterRules(max_gap_s=meter["max_gap_s"], max_power_kw=meter["rated_power_kw"]),
        events=[each for each in known if not each.cuts],
    )
    moves = [move for each in counted if each is not None for move in _moves(each)]
    if not moves:
        return None
    distance, first_us, is_across = min(
        (max(start_us - event.at_us, event.at_us - end_us, 0), end_us, start_us < event.at_us <= end_us)
        for start_us, end_us in moves
    )
    return None if is_across or distance > _REACH_US else first_us


def _moves(counted: Increments) -> list[tuple[int, int]]:
    moved = np.flatnonzero(counted.flags & _MOVED)
    return list(zip(counted.start_us[moved].tolist(), counted.end_us[moved].tolist(), strict=True))
