"""Sums of the interval tables for groups of meters by period: one query a stretch of a tier, not one a period."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import numpy as np

from emsd.energy.period_sums import Run, RunSums
from emsd.energy.series import US_PER_S
from emsd.energy.windows import Tier
from emsd.readings import to_datetime
from emsd.store.pool import Session

__all__ = ["read_run_sums"]

# Runs lie side by side, so the number of a bucket's run is found by bisection in their edges, and rows are read once.
# {of_meter} adds up each meter before it is put into its groups, which is right for long runs; where hardly a bucket
# shares its run with another, rows go to their groups as they are. {meter_id} is as in emsd.store.rolling: as it is,
# the primary key finds a few meters; with "+ 0" rows are found by their time, right for many.
_SUM_RUNS: Final = """
SELECT array_agg(member_group) AS groups, array_agg(run) AS runs, array_agg(import_kwh) AS import_kwh,
       array_agg(export_kwh) AS export_kwh, array_agg(estimated_kwh) AS estimated_kwh, array_agg(coverage) AS coverage
FROM (
    SELECT member.member_group, of_meter.run, sum(import_kwh) AS import_kwh, sum(export_kwh) AS export_kwh,
           sum(estimated_kwh) AS estimated_kwh, sum(coverage) AS coverage
    FROM ({of_meter}) AS of_meter
    JOIN unnest($5::integer[], $6::integer[]) AS member (meter_id, member_group) USING (meter_id)
    GROUP BY 1, 2
) AS of_group
"""
_ADDED_UP: Final = """
SELECT meter_id, width_bucket({time}, $1::{type}[]) AS run,
       sum(energy_import_kwh) AS import_kwh, sum(energy_export_kwh) AS export_kwh,
       sum(estimated_import_kwh + estimated_export_kwh) AS estimated_kwh, sum(coverage::float8) AS coverage
FROM {table} WHERE {time} >= $2 AND {time} < $3 AND {meter_id} = ANY($4::integer[]) GROUP BY 1, 2
"""
_AS_THEY_ARE: Final = """
SELECT meter_id, width_bucket({time}, $1::{type}[]) AS run,
       energy_import_kwh AS import_kwh, energy_export_kwh AS export_kwh,
       estimated_import_kwh + estimated_export_kwh AS estimated_kwh, coverage::float8 AS coverage
FROM {table} WHERE {time} >= $2 AND {time} < $3 AND {meter_id} = ANY($4::integer[])
"""
_LONG_RUN: Final = 4
"""A run of more buckets than this is worth adding up for each meter first."""
_MANY_SHARE: Final = 0.25
_PLACES: Final[dict[Tier, tuple[str, str, str]]] = {
    "1m": ("interval_1m", "bucket", "timestamptz"),
    "15m": ("interval_15m", "bucket", "timestamptz"),
    "1d": ("interval_1d", "day", "date"),
}


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Runs of one tier side by side: numbers in the plan, how many buckets, edges in the terms of the table."""

    tier: Tier
    numbers: tuple[int, ...]
    buckets: float
    edges: tuple[datetime, ...] | tuple[date, ...]


async def read_run_sums(
    connection: Session, runs: Sequence[Run], groups: Sequence[Sequence[int]], *, energy_meter_count: int
) -> RunSums:
    """Return the sums of every run over the meters of every group; a meter may be in several groups.

    Args:
        connection: a session, best one of `emsd.store.reads.snapshot`.
        runs: of an `emsd.energy.period_sums.PeriodPlan`, in its order.
        groups: ids of the meters of each group.
        energy_meter_count: how many meters have intervals; it decides how rows are found, never what comes out.
    """
    shape = len(groups), len(runs)
    imported, exported = np.full(shape, np.nan), np.full(shape, np.nan)
    estimated, covered_s = np.zeros(shape), np.zeros(shape)
    bucket_s = np.array([run.bucket_s for run in runs])
    members = [(meter_id, number) for number, group in enumerate(groups) for meter_id in group]
    wanted = sorted({meter_id for meter_id, _ in members})
    meter_id = "meter_id + 0" if len(wanted) > _MANY_SHARE * energy_meter_count else "meter_id"
    for stretch in _stretches(runs) if wanted else ():
        table, time, kind = _PLACES[stretch.tier]
        of_meter = _ADDED_UP if stretch.buckets > _LONG_RUN * len(stretch.numbers) else _AS_THEY_ARE
        row = await connection.fetchrow(
            _SUM_RUNS.format(of_meter=of_meter.format(table=table, time=time, type=kind, meter_id=meter_id)),
            stretch.edges,
            stretch.edges[0],
            stretch.edges[-1],
            wanted,
            [each for each, _ in members],
            [number for _, number in members],
        )
        if row is None or row["groups"] is None:
            continue
        # width_bucket counts from 1.
        at = np.array(row["groups"]), np.array(stretch.numbers)[np.array(row["runs"]) - 1]
        imported[at], exported[at] = _floats(row["import_kwh"]), _floats(row["export_kwh"])
        estimated[at] = np.nan_to_num(_floats(row["estimated_kwh"]))
        covered_s[at] = _floats(row["coverage"]) * bucket_s[at[1]]
    return RunSums(imported, exported, estimated, covered_s)


def _stretches(runs: Sequence[Run]) -> Iterator[_Stretch]:
    for tier in _PLACES:
        numbers: list[int] = []
        for number, run in enumerate(runs):
            if run.tier != tier:
                continue
            if numbers and runs[numbers[-1]].to_us != run.from_us:
                yield _stretch(tier, runs, numbers)
                numbers = []
            numbers.append(number)
        if numbers:
            yield _stretch(tier, runs, numbers)


def _stretch(tier: Tier, runs: Sequence[Run], numbers: Sequence[int]) -> _Stretch:
    of_tier = [runs[number] for number in numbers]
    buckets = sum((run.to_us - run.from_us) / (run.bucket_s * US_PER_S) for run in of_tier)
    if tier == "1d":
        days = [run.days for run in of_tier if run.days is not None]
        return _Stretch(tier, tuple(numbers), buckets, (*(first for first, _ in days), days[-1][1]))
    instants = (*(to_datetime(run.from_us) for run in of_tier), to_datetime(of_tier[-1].to_us))
    return _Stretch(tier, tuple(numbers), buckets, instants)


def _floats(values: Sequence[Any]) -> np.typing.NDArray[np.float64]:
    return np.array(values, dtype=np.float64)
