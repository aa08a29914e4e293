"""Reads the samples that a run of minutes needs, and no more than it must."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np

from emsd.accounting.runs import READ_CONTEXT, Run, Series, series_times, widened
from emsd.energy.counters import CONTEXT_SAMPLES
from emsd.energy.series import US_PER_S
from emsd.store.pool import Session
from emsd.store.samples import SampleRange, SampleRows, read_samples

__all__ = ["Gatherer"]

_NEAR_S: Final = 2 * 3600.0
"""Where context samples are looked for first [s]; an open look asks every chunk of the hypertable."""
_ANYWHERE_S: Final = 20 * 366 * 86_400.0

Ready: TypeAlias = list[tuple[Run, SampleRows]]
Open: TypeAlias = list[tuple[Run, Run | None]]
"""Runs without all the samples they need; each with what it must be widened to, None while that is unknown."""


class Gatherer:
    """Finds, for each run, how far it must be widened, and the samples for that.

    A meter polled every second touches its running minute at every pass, but the minutes before it only while one of
    its series has fewer than CONTEXT_SAMPLES usable samples there. So the first of them are remembered per meter: while
    they are the same, the minutes before need not be computed again. The memory only spares work; losing it changes no
    result.
    """

    def __init__(self) -> None:
        self._begun: dict[int, tuple[int, tuple[tuple[int, ...], ...]]] = {}

    async def gather(self, connection: Session, runs: Sequence[Run], now_us: int) -> Ready:
        """Return every run, widened as far as its new samples reach, with its samples and context.

        No meter may stand twice in `runs`. A run of a meter without samples is left out.
        """
        asked = {run.account.meter_id: run if self._has_begun(run) else run.before_by_schedule() for run in runs}
        near = await _read(connection, list(asked.values()), _NEAR_S)
        ready: Ready = []
        left: Open = []
        for run in runs:
            rows = near.get(run.account.meter_id)
            if rows is None:
                left.append((run, None))
                continue
            series = series_times(run.account, rows)
            if self._begins_as_before(run, series):
                target: Run | None = run
            else:
                target = widened(run, series) if _is_enough(run, series, now_us) else None
            if target and asked[run.account.meter_id].covers(target) and _is_enough(target, series, now_us):
                ready.append((target, rows))
            else:
                left.append((run, target))
            self._begun[run.account.meter_id] = (run.from_us, _first_times(run, series))
        for reach_s in (_NEAR_S, _ANYWHERE_S):
            if left:
                some, left = await _look_again(connection, left, now_us, reach_s)
                ready += some
        return ready

    def _has_begun(self, run: Run) -> bool:
        begun = self._begun.get(run.account.meter_id)
        return begun is not None and begun[0] == run.from_us

    def _begins_as_before(self, run: Run, series: Series) -> bool:
        ends = all(not times_us.size or times_us[-1] < run.to_us for times_us in series)
        return ends and self._begun.get(run.account.meter_id) == (run.from_us, _first_times(run, series))


def _first_times(run: Run, series: Series) -> tuple[tuple[int, ...], ...]:
    """The first CONTEXT_SAMPLES times of each series in the run, or as many as there are."""
    bounds = [np.searchsorted(times_us, (run.from_us, run.to_us)).tolist() for times_us in series]
    return tuple(
        tuple(times_us[first : min(last, first + CONTEXT_SAMPLES)].tolist())
        for times_us, (first, last) in zip(series, bounds, strict=True)
    )


def _is_enough(run: Run, series: Series, now_us: int) -> bool:
    """Whether every series has as many usable samples on either side of the run as a judgement may need.

    After a live run there are no more than a near look finds. A series that neither speaks in a live run nor after
    it has no energy there, whatever lies before.
    """
    is_live = run.to_us > now_us - _NEAR_S * US_PER_S
    for times_us in series:
        first, last = np.searchsorted(times_us, (run.from_us, run.to_us)).tolist()
        if is_live and first == times_us.size:
            continue
        if first < CONTEXT_SAMPLES or not (is_live or times_us.size - last >= CONTEXT_SAMPLES):
            return False
    return True


async def _look_again(connection: Session, left: Open, now_us: int, reach_s: float) -> tuple[Ready, Open]:
    """Look `reach_s` [s] far for the context of each series; return the runs that are settled, and the others.

    An open look settles all: what it does not find does not exist.
    """
    is_last = reach_s == _ANYWHERE_S
    context = await _read(connection, [run for run, target in left if target is None], reach_s, each_counter=True)
    targets: list[tuple[Run, Run]] = []
    ready: Ready = []
    still: Open = []
    for run, target in left:
        rows = context.get(run.account.meter_id)
        if target is not None:
            targets.append((run, target))
        elif rows is not None and (is_last or _is_enough(run, series_times(run.account, rows), now_us)):
            targets.append((run, widened(run, series_times(run.account, rows))))
        elif not is_last:
            still.append((run, None))
    found = await _read(connection, [target for _, target in targets], reach_s, each_counter=True)
    for run, target in targets:
        rows = found.get(run.account.meter_id)
        if rows is not None and (is_last or _is_enough(target, series_times(run.account, rows), now_us)):
            ready.append((target, rows))
        elif not is_last:
            still.append((run, target))
    return ready, still


async def _read(
    connection: Session, runs: Sequence[Run], reach_s: float, *, each_counter: bool = False
) -> dict[int, SampleRows]:
    found: dict[int, SampleRows] = {}
    for by_counter in (True, False):
        ranges = [
            SampleRange(run.account.meter_id, run.from_us, run.to_us)
            for run in runs
            if run.account.by_counter is by_counter
        ]
        if ranges:
            found |= await read_samples(
                connection,
                ranges,
                by_counter=by_counter,
                each_counter=each_counter,
                context=READ_CONTEXT,
                reach_s=reach_s,
            )
    return found
