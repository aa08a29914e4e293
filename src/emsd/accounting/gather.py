"""Reads the samples that a run of minutes needs, and no more than it must."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np

from emsd.accounting.runs import READ_CONTEXT, Run, Series, series_times, widened
from emsd.energy.counters import CONTEXT_SAMPLES
from emsd.energy.series import US_PER_S, sort_unique
from emsd.store.pool import Session
from emsd.store.samples import LONG_RANGE_US, SampleRange, SampleRows, read_samples

__all__ = ["Bounds", "Gatherer", "Ready"]

_NEAR_S: Final = 2 * 3600.0
"""Where context samples are looked for first [s]; an open look asks every chunk of the hypertable."""
_ANYWHERE_S: Final = 20 * 366 * 86_400.0
_MANY: Final = 0.25
_MOST: Final = 0.75
"""Shares of all meters: how the samples of a long range are found depends on how many meters it is about."""

_NOTHING: Final = SampleRows(np.empty(0, dtype=np.int64), *(np.empty(0) for _ in range(3)))

Ready: TypeAlias = list[tuple[Run, SampleRows]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a pass goes by [us]: its now, from when on raw readings are kept, and before when nothing is computed.

    `meters` is how many meters there are; it decides how samples are found, never what comes out.
    """

    now_us: int
    kept_from_us: int = 0
    sealed_before_us: int = 0
    meters: int = 0

    def unsealed(self, run: Run) -> Run:
        """Cut off what is sealed of a run."""
        if run.from_us >= self.sealed_before_us:
            return run
        return replace(run, from_us=min(run.to_us, self.sealed_before_us))


@dataclass(frozen=True, slots=True)
class _Open:
    """A run without all the samples it needs: those in `asked` and near it, and what it must be widened to.

    `target` None: that is not known yet.
    """

    run: Run
    asked: Run
    near: SampleRows | None
    target: Run | None


class Gatherer:
    """Finds, for each run, how far it must be widened, and the samples for that.

    A meter polled every second touches its running minute at every pass, but the minutes before it only while one of
    its series has fewer than CONTEXT_SAMPLES usable samples there. So the first of them are remembered per meter: while
    they are the same, the minutes before need not be computed again. The memory only spares work; losing it changes no
    result.
    """

    def __init__(self) -> None:
        self._begun: dict[int, tuple[int, tuple[tuple[int, ...], ...]]] = {}

    async def gather(self, connection: Session, runs: Sequence[Run], bounds: Bounds) -> Ready:
        """Return every run, widened as far as its new samples reach, with its samples and context.

        No meter may stand twice in `runs`, and none may begin where it is sealed. A meter without samples has none.
        """
        now_us = bounds.now_us
        asked = {run.account.meter_id: run if self._has_begun(run) else _by_schedule(run, bounds) for run in runs}
        near = await _read(connection, list(asked.values()), _NEAR_S, bounds, alone_if_long=True)
        ready: Ready = []
        left: list[_Open] = []
        for run in runs:
            wide, rows = asked[run.account.meter_id], near.get(run.account.meter_id)
            if rows is None:
                left.append(_Open(run, wide, None, None))
                continue
            series = series_times(run.account, rows)
            if self._begins_as_before(run, series):
                target: Run | None = run
            else:
                target = bounds.unsealed(widened(run, series)) if _is_enough(run, series, now_us) else None
            if target and wide.covers(target) and _is_enough(target, series, now_us):
                ready.append((target, rows))
            else:
                left.append(_Open(run, wide, rows, target))
            self._begun[run.account.meter_id] = (run.from_us, _first_times(run, series))
        for reach_s in (_NEAR_S, _ANYWHERE_S):
            if left:
                some, left = await _look_again(connection, left, bounds, reach_s)
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
    is_live = _is_live(run, now_us)
    for times_us in series:
        first, last = np.searchsorted(times_us, (run.from_us, run.to_us)).tolist()
        if is_live and first == times_us.size:
            continue
        if first < CONTEXT_SAMPLES or not (is_live or times_us.size - last >= CONTEXT_SAMPLES):
            return False
    return True


async def _look_again(
    connection: Session, left: Sequence[_Open], bounds: Bounds, reach_s: float
) -> tuple[Ready, list[_Open]]:
    """Look `reach_s` [s] far for the context of each series; return the runs that are settled, and the others.

    An open look settles all: what it does not find does not exist.
    """
    is_last, now_us = reach_s == _ANYWHERE_S, bounds.now_us
    unknown = [each.run for each in left if each.target is None]
    context = await _read(connection, unknown, reach_s, bounds, each_counter=True, context_only=True)
    wide: list[_Open] = []
    ready: Ready = []
    still: list[_Open] = []
    for each in left:
        run, target = each.run, each.target
        if target is None:
            rows = _joined(each.near, context.get(run.account.meter_id))
            series = series_times(run.account, rows)
            if not is_last and not _is_enough(run, series, now_us):
                still.append(each)
                continue
            target = bounds.unsealed(widened(run, series))
            if each.asked.covers(target) and (is_last or _is_enough(target, series, now_us)):
                ready.append((target, rows))
                continue
        wide.append(replace(each, target=target))
    targets = [each.target for each in wide if each.target is not None]
    found = await _read(connection, targets, reach_s, bounds, each_counter=True)
    for each, target in zip(wide, targets, strict=True):
        rows = found.get(target.account.meter_id, _NOTHING)
        if is_last or _is_enough(target, series_times(target.account, rows), now_us):
            ready.append((target, rows))
        else:
            still.append(each)
    return ready, still


def _joined(*parts: SampleRows | None) -> SampleRows:
    """Put samples of one meter together, each instant once."""
    there = [each for each in parts if each is not None]
    if len(there) < len(parts):
        return there[0] if there else _NOTHING
    names = ("time_us", "import_kwh", "export_kwh", "power_kw")
    columns = (np.concatenate([getattr(each, name) for each in there]) for name in names)
    return SampleRows(*sort_unique(*columns))


def _by_schedule(run: Run, bounds: Bounds) -> Run:
    """Widen a run by its meter's schedule so that one read is mostly enough, as far as raw readings are kept.

    A live run has nothing after it. Beside a long one no context is looked for at first, so what it may grow by is read
    with the context of that.
    """
    is_long = run.to_us - run.from_us >= LONG_RANGE_US
    span_us = run.by_schedule_us()
    before_us = 2 * span_us if is_long and run.grows_before else span_us
    after_us = 0 if _is_live(run, bounds.now_us) else 2 * span_us if is_long and run.grows_after else span_us
    from_us = min(run.from_us, max(run.from_us - before_us, bounds.kept_from_us))
    return replace(run, from_us=from_us, to_us=run.to_us + after_us)


def _is_live(run: Run, now_us: int) -> bool:
    return run.to_us > now_us - _NEAR_S * US_PER_S


async def _read(
    connection: Session,
    runs: Sequence[Run],
    reach_s: float,
    bounds: Bounds,
    *,
    each_counter: bool = False,
    context_only: bool = False,
    alone_if_long: bool = False,
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
                kept_from_us=bounds.kept_from_us,
                context_only=context_only,
                are_many=len(ranges) >= _MANY * bounds.meters,
                alone_if_long=alone_if_long and len(ranges) >= _MOST * bounds.meters,
            )
    return found
