"""Reads the samples that a run of minutes needs, and no more than it must."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from emsd.accounting.runs import READ_CONTEXT, Run, usable_times, widened
from emsd.energy.counters import CONTEXT_SAMPLES
from emsd.energy.series import US_PER_S, TimeArray
from emsd.store.intervals import SampleRange, SampleRows, read_samples
from emsd.store.pool import Session

__all__ = ["Gatherer"]

_NEAR_S: Final = 2 * 3600.0
"""Where context samples are looked for first [s]; an open look asks every chunk of the hypertable."""
_ANYWHERE_S: Final = 20 * 366 * 86_400.0


class Gatherer:
    """Finds, for each run, how far it must be widened, and the samples for that.

    A meter polled every second touches its running minute at every pass, but the minutes before it only while that
    minute has fewer than CONTEXT_SAMPLES usable samples. So the first of them are remembered per meter: while they
    are the same, what lies before need not be read again. The memory only spares work; losing it changes no result.
    """

    def __init__(self) -> None:
        self._begun: dict[int, tuple[int, tuple[int, ...]]] = {}

    async def gather(self, connection: Session, runs: Sequence[Run], now_us: int) -> list[tuple[Run, SampleRows]]:
        """Return every run, widened as far as its new samples reach, with its samples and context.

        No meter may stand twice in `runs`. A run of a meter without samples is left out.
        """
        asked = {run.account.meter_id: run if self._has_begun(run) else run.before_by_schedule() for run in runs}
        near = await _read(connection, list(asked.values()), _NEAR_S)
        ready: list[tuple[Run, SampleRows]] = []
        again: list[Run] = []
        far: list[Run] = []
        for run in runs:
            meter_id = run.account.meter_id
            rows = near.get(meter_id)
            times_us = np.empty(0, np.int64) if rows is None else usable_times(run.account, rows)
            if rows is not None and self._begins_as_before(run, times_us):
                ready.append((run, rows))
            elif _reaches(run, times_us, now_us):
                target = widened(run, times_us)
                if rows is not None and asked[meter_id].covers(target):
                    ready.append((target, rows))
                else:
                    again.append(target)
            else:
                far.append(run)
            self._remember(run, times_us)
        ready += await _read_each(connection, again, _NEAR_S)
        context = await _read(connection, far, _ANYWHERE_S)
        targets = [
            widened(run, usable_times(run.account, context[run.account.meter_id]))
            for run in far
            if run.account.meter_id in context
        ]
        return ready + await _read_each(connection, targets, _ANYWHERE_S)

    def _has_begun(self, run: Run) -> bool:
        begun = self._begun.get(run.account.meter_id)
        return begun is not None and begun[0] == run.from_us

    def _begins_as_before(self, run: Run, times_us: TimeArray) -> bool:
        begun = self._begun.get(run.account.meter_id)
        last = int(np.searchsorted(times_us, run.to_us))
        return begun is not None and last == times_us.size and begun == (run.from_us, _first_times(run, times_us))

    def _remember(self, run: Run, times_us: TimeArray) -> None:
        first = _first_times(run, times_us)
        if len(first) == CONTEXT_SAMPLES:
            self._begun[run.account.meter_id] = (run.from_us, first)


def _first_times(run: Run, times_us: TimeArray) -> tuple[int, ...]:
    first = int(np.searchsorted(times_us, run.from_us))
    return tuple(times_us[first : first + CONTEXT_SAMPLES].tolist())


def _reaches(run: Run, times_us: TimeArray, now_us: int) -> bool:
    """Whether the near look found as many usable samples on either side as a judgement may need."""
    before = int(np.searchsorted(times_us, run.from_us))
    after = times_us.size - int(np.searchsorted(times_us, run.to_us))
    is_live = run.to_us > now_us - _NEAR_S * US_PER_S
    return before >= CONTEXT_SAMPLES and (is_live or after >= CONTEXT_SAMPLES)


async def _read(connection: Session, runs: Sequence[Run], reach_s: float) -> dict[int, SampleRows]:
    found: dict[int, SampleRows] = {}
    for by_counter in (True, False):
        ranges = [
            SampleRange(run.account.meter_id, run.from_us, run.to_us)
            for run in runs
            if run.account.by_counter is by_counter
        ]
        if ranges:
            found |= await read_samples(
                connection, ranges, by_counter=by_counter, context=READ_CONTEXT, reach_s=reach_s
            )
    return found


async def _read_each(connection: Session, runs: Sequence[Run], reach_s: float) -> list[tuple[Run, SampleRows]]:
    found = await _read(connection, runs, reach_s)
    return [(run, found[run.account.meter_id]) for run in runs if run.account.meter_id in found]
