"""Readings of a wrong clock, written down once they are found.

A pass sees a few minutes, and the readings in the middle of such a stretch look sound. But the pass in which the clock
is right again sees the counter's jump and its fall together. What it finds is looked at in a day of readings, and
written to the ledger of meter events, which every later computation goes by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import structlog

from emsd.accounting.accounts import MeterAccount
from emsd.accounting.runs import Run
from emsd.energy.counters import CONTEXT_SAMPLES, overtaken
from emsd.energy.events import CounterName, EventKind, MeterEvent, ratio_of
from emsd.energy.series import BUCKET_1M_US, IncrementFlag
from emsd.readings import to_datetime
from emsd.store.intervals import MinuteRows
from emsd.store.meter_events import hold_out
from emsd.store.pool import Session
from emsd.store.samples import SampleRange, SampleRows, read_samples

__all__ = ["hold_out_overtaken"]

_log = structlog.get_logger(__name__)

_DAY_US: Final = 1440 * BUCKET_1M_US
_REACH_US: Final = _DAY_US + 60 * BUCKET_1M_US
"""How wrong a clock may be [us]: a day, as by a wrong date, and an hour."""
_NEAR_S: Final = 60.0


async def hold_out_overtaken(
    connection: Session, run: Run, samples: SampleRows, minutes: MinuteRows, events: Sequence[MeterEvent]
) -> bool:
    """Write down which readings of a meter a wrong clock has put too late, when the minutes of a run show a fall of it.

    Inside the transaction of a pass; the minutes that it concerns are marked. True when something was written.
    """
    if not (minutes.flags & IncrementFlag.STEP).any():
        return False
    seen = _hold_out(run.account, samples, events)
    if seen is None:
        return False
    cuts_us = [event.boundary_us for event in events if event.cuts]
    begin_us = max([seen.at_us - _REACH_US, *(at_us for at_us in cuts_us if at_us <= seen.at_us)])
    end_us = min([seen.at_us + _REACH_US, *(at_us for at_us in cuts_us if at_us > seen.at_us)])
    found = await read_samples(
        connection,
        [SampleRange(run.account.meter_id, begin_us, end_us)],
        by_counter=True,
        context=CONTEXT_SAMPLES,
        reach_s=_NEAR_S,
    )
    event = _hold_out(run.account, found[run.account.meter_id], events) if found else None
    if event is None or event.until_us is None:
        return False
    first, last = to_datetime(event.at_us), to_datetime(event.until_us - 1)
    note = (
        f"readings from {first.isoformat(timespec='seconds')} to {last.isoformat(timespec='seconds')} tell what the "
        "counter had passed before; the clock that dated them was ahead"
    )
    written = await hold_out(connection, run.account.meter_id, event, note=note)
    if written:
        _log.warning("readings_held_out", meter_id=run.account.meter_id, first=first.isoformat(), last=last.isoformat())
    return written


def _hold_out(account: MeterAccount, samples: SampleRows, events: Sequence[MeterEvent]) -> MeterEvent | None:
    known = np.zeros(samples.time_us.size, dtype=np.bool_)
    for event in events:
        if event.kind is EventKind.HOLD_OUT:
            column = samples.export_kwh if event.counter == "export_kwh" else samples.import_kwh
            known |= event.holds_out(samples.time_us, column)
    counters: tuple[tuple[bool, CounterName, np.typing.NDArray[np.float64]], ...] = (
        (account.has_import, "import_kwh", samples.import_kwh),
        (account.has_export, "export_kwh", samples.export_kwh),
    )
    for has, name, column in counters:
        if has:
            times_us, told = overtaken(samples.time_us[~known], column[~known], account.rules, ratio_of(events))
            if times_us.size:
                first_us, end_us = int(times_us[0]), int(times_us[-1]) + 1
                low, high = float(told.min()), float(told.max())
                return MeterEvent(
                    EventKind.HOLD_OUT, first_us, until_us=end_us, counter=name, low_kwh=low, high_kwh=high
                )
    return None
