"""Which minutes to compute, and how far around them to read; pure.

A reading changes more than its own minute. The energy between two samples is spread over the time between them, and a
suspect sample is judged by up to CONTEXT_SAMPLES later ones. So a run of marked minutes is widened to the minutes of
the CONTEXT_SAMPLES usable samples on either side, and as many again are read beyond those. Samples are counted for each
series by itself: a generation counter may speak once an hour, or at daytime only, beside one of consumption that speaks
every second.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from emsd.accounting.accounts import MeterAccount
from emsd.energy.counters import CONTEXT_SAMPLES
from emsd.energy.events import MeterEvent
from emsd.energy.meters import MeterSamples, meter_buckets
from emsd.energy.series import BUCKET_1M_US, US_PER_S, bucket_edges, ceil_us, floor_us
from emsd.store.intervals import DirtyMark, MinuteRows
from emsd.store.samples import SampleRows

__all__ = ["READ_CONTEXT", "Run", "Series", "compute", "runs_of", "series_times", "take", "widened"]

Series: TypeAlias = tuple[NDArray[np.int64], ...]
"""Times [us] of the usable samples of each counter of a meter, or of its power."""

READ_CONTEXT = 2 * CONTEXT_SAMPLES
"""Usable samples to read on either side of a run."""

_JOIN_US = 5 * BUCKET_1M_US
"""Marked minutes no farther apart than this form one run: reading the hole is cheaper than a second run."""


@dataclass(frozen=True, slots=True)
class Run:
    """Minutes [from_us, to_us) of one meter to be computed.

    knots_us      when events begin or end stretches of energy as a sample would [us], ascending
    grows_before  whether minutes before it may have to be computed with it; not where a run of their own does that
    grows_after   the same of minutes after it
    """

    account: MeterAccount
    from_us: int
    to_us: int
    knots_us: tuple[int, ...] = ()
    grows_before: bool = True
    grows_after: bool = True

    def by_schedule_us(self) -> int:
        """Return in what time its meter should be polled CONTEXT_SAMPLES times [us], in whole minutes."""
        return ceil_us(math.ceil(CONTEXT_SAMPLES * self.account.poll_interval_s * US_PER_S), BUCKET_1M_US)

    def covers(self, other: Run) -> bool:
        """Whether the minutes of `other` are all among these."""
        return self.from_us <= other.from_us and other.to_us <= self.to_us


def take(marks: Sequence[DirtyMark], most_minutes: int) -> tuple[list[DirtyMark], dict[int, set[int]]]:
    """Return the leading marks whose meter-minutes number at most `most_minutes` (at least one mark), by meter.

    A minute that many batches wrote into has as many marks, and counts once: it is computed once.
    """
    taken: list[DirtyMark] = []
    by_minute: dict[int, set[int]] = defaultdict(set)
    total = 0
    for mark in marks:
        known = by_minute[mark.bucket_us]
        total += len(set(mark.meter_ids) - known)
        if taken and total > most_minutes:
            break
        taken.append(mark)
        known.update(mark.meter_ids)
    minutes: dict[int, set[int]] = defaultdict(set)
    for bucket_us, meter_ids in by_minute.items():
        for meter_id in meter_ids:
            minutes[meter_id].add(bucket_us)
    return taken, minutes


def runs_of(
    account: MeterAccount,
    buckets_us: Iterable[int],
    events: Sequence[MeterEvent] = (),
    *,
    grows_before: bool = True,
    grows_after: bool = True,
) -> list[Run]:
    """Join marked minutes that lie close together into runs, the latest first; `events` are those of the meter."""
    ordered = sorted(buckets_us)
    knots_us = tuple(sorted({event.at_us for event in events if event.cuts or event.reading})) if events else ()
    bounds: list[tuple[int, int]] = []
    begin = last = ordered[0]
    for bucket in ordered[1:]:
        if bucket - last > _JOIN_US:
            bounds.append((begin, last + BUCKET_1M_US))
            begin = bucket
        last = bucket
    bounds.append((begin, last + BUCKET_1M_US))
    return [Run(account, *each, knots_us, grows_before, grows_after) for each in reversed(bounds)]


def series_times(account: MeterAccount, rows: SampleRows) -> Series:
    """Return the times [us] of the samples that energy can be made of, each series by itself."""
    if account.by_counter:
        counters = ((account.has_import, rows.import_kwh), (account.has_export, rows.export_kwh))
        columns = [column for has, column in counters if has]
    else:
        columns = [rows.power_kw]
    usable = [np.isfinite(column) for column in columns]
    return tuple(rows.time_us if each.all() else rows.time_us[each] for each in usable)


def widened(run: Run, series: Series) -> Run:
    """Widen a run where it grows to the minutes of CONTEXT_SAMPLES usable samples, or as many as there are.

    A series that has no sample in the run did not change there, and widens nothing. An event ends a stretch as a sample
    does, also where no sample follows.
    """
    from_us, to_us = run.from_us, run.to_us
    for sample_us in series:
        times_us = np.union1d(sample_us, np.array(run.knots_us, dtype=np.int64)) if run.knots_us else sample_us
        first, last = np.searchsorted(times_us, (run.from_us, run.to_us)).tolist()
        if first == last:
            continue
        before = times_us[max(0, first - CONTEXT_SAMPLES) : first]
        after = times_us[last : last + CONTEXT_SAMPLES]
        if before.size and run.grows_before:
            from_us = min(from_us, floor_us(int(before[0]), BUCKET_1M_US))
        if after.size and run.grows_after:
            to_us = max(to_us, ceil_us(int(after[-1]) + 1, BUCKET_1M_US))
    return replace(run, from_us=from_us, to_us=to_us)


def compute(run: Run, rows: SampleRows, events: Sequence[MeterEvent] = ()) -> MinuteRows:
    """Compute the minutes of a run from its samples with their context, and the events of the meter that count."""
    account = run.account
    samples = MeterSamples(
        rows.time_us,
        import_kwh=rows.import_kwh if account.has_import else None,
        export_kwh=rows.export_kwh if account.has_export else None,
        power_kw=rows.power_kw,
    )
    edges_us = bucket_edges(run.from_us, run.to_us, BUCKET_1M_US)
    buckets = meter_buckets(samples, account.rules, edges_us, power_method=account.power_method, events=events)
    known = (
        np.isfinite(buckets.energy_import_kwh)
        | np.isfinite(buckets.energy_export_kwh)
        | (buckets.sample_count > 0)
        | (buckets.flags != 0)
    )
    return MinuteRows(
        meter_id=account.meter_id,
        bucket_us=edges_us[:-1][known],
        energy_import_kwh=buckets.energy_import_kwh[known],
        energy_export_kwh=buckets.energy_export_kwh[known],
        estimated_import_kwh=buckets.estimated_import_kwh[known],
        estimated_export_kwh=buckets.estimated_export_kwh[known],
        power_min_kw=buckets.power_min_kw[known],
        power_avg_kw=buckets.power_avg_kw[known],
        power_max_kw=buckets.power_max_kw[known],
        coverage=buckets.coverage[known],
        sample_count=buckets.sample_count[known],
        flags=buckets.flags[known],
        unknown_us=_stretches(~known, edges_us),
    )


def _stretches(chosen: NDArray[np.bool_], edges_us: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the chosen ones of the buckets between the edges as stretches [from, to) [us]."""
    steps = np.flatnonzero(np.diff(np.concatenate(([False], chosen, [False]))))
    bounds: list[int] = edges_us[steps].tolist()
    return list(zip(bounds[::2], bounds[1::2], strict=True))
