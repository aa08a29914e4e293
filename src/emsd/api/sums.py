"""From a question for sums to its figures, period by period, however long the range."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from emsd.energy.carbon import CarbonFactor
from emsd.energy.period_sums import Per, PeriodFigures, RunSums, period_edges, plan_periods, sum_periods
from emsd.energy.rollup import CarbonBasis
from emsd.energy.series import TimeArray, datetime_from_us
from emsd.store.plant_view import PlantView
from emsd.store.pool import Pool, Session
from emsd.store.reads import snapshot
from emsd.store.scopes import ScopeKind, ScopeMeters, keys_of_scope, meters_of_scope
from emsd.store.sums import read_run_sums

__all__ = ["FIGURES", "Group", "PeriodSums", "SumsQuestion", "groups_of", "open_sums"]

FIGURES: Final = (
    "import_kwh",
    "export_kwh",
    "net_kwh",
    "generation_kwh",
    "consumption_kwh",
    "coverage",
    "generation_coverage",
    "estimated_share",
    "kg_co2",
    "carbon_coverage",
)
"""Names of the figures of a group in a period, in the order of the answer; the last two are of carbon."""

_PERIODS_AT_ONCE: Final = 2_000
_FIGURES_AT_ONCE: Final = 20_000
_ROWS_AT_ONCE: Final = 4_000_000
"""Of the interval tables in one query, about 2 s of the database's work."""
_ROWS_A_DAY: Final = {"total": 1, "month": 1, "day": 1, "15m": 96}


@dataclass(frozen=True, slots=True)
class Group:
    """Something whose meters are added up; `parent` is the key of the area that an area lies in."""

    key: str | None
    name: str
    parent: str | None
    meters: ScopeMeters


@dataclass(frozen=True, slots=True)
class SumsQuestion:
    """What is asked: groups of meters inside a scope, by periods of [from_, to); without `basis` there is no carbon."""

    by: ScopeKind
    per: Per
    within: tuple[ScopeKind, str | None]
    groups: Sequence[Group]
    from_: datetime
    to: datetime
    zone: ZoneInfo
    factors: Sequence[CarbonFactor]
    basis: CarbonBasis | None

    def edges_us(self) -> TimeArray:
        """Return the p + 1 edges of the periods [us]."""
        return period_edges(self.from_, self.to, self.per, self.zone)


@dataclass(frozen=True, slots=True)
class PeriodSums:
    """One period, and the values of FIGURES of every group in it, in the order of the question; NaN is unknown."""

    label: str
    from_: datetime
    to: datetime
    of_groups: Sequence[Sequence[float]]


async def groups_of(plant: PlantView, by: ScopeKind, within: tuple[ScopeKind, str | None]) -> list[Group]:
    """Return every group of a kind that has energy meters inside the scope `within`."""
    groups = []
    keys: Sequence[str | None] = [None] if by == "site" else keys_of_scope(plant, by)
    for key in keys:
        meters = meters_of_scope(plant, by, key, within=within)
        if meters.top:
            groups.append(Group(key, *_name_and_parent(plant, by, key), meters))
        await asyncio.sleep(0)  # a thousand meters are a thousand groups
    return groups


@asynccontextmanager
async def open_sums(
    pool: Pool, question: SumsQuestion, *, energy_meter_count: int
) -> AsyncIterator[AsyncIterator[list[PeriodSums]]]:
    """Open the sums in order of time, some periods at once, all of one instant of the database.

    Raises:
        StoreUnavailable: the database cannot be reached; from the iterator, it was lost on the way.
    """
    async with snapshot(pool, "add up the intervals by period") as connection:
        # A sum for every meter and run must not go through files.
        await connection.execute("SET LOCAL work_mem = '64MB'")
        async with aclosing(_chunks(connection, question, energy_meter_count)) as chunks:
            yield chunks


async def _chunks(
    connection: Session, question: SumsQuestion, energy_meter_count: int
) -> AsyncGenerator[list[PeriodSums]]:
    of_groups = [each.meters for each in question.groups]
    count = len(of_groups)
    edges_us = question.edges_us()
    step = _periods_at_once(question, edges_us)
    for start in range(0, edges_us.size - 1, step):
        part_us = edges_us[start : start + step + 1]
        plan = plan_periods(part_us, question.zone, question.factors if question.basis else ())
        meters = [each.top for each in of_groups] + [each.generation for each in of_groups]
        sums = await read_run_sums(connection, plan.runs, meters, energy_meter_count=energy_meter_count)
        figures = sum_periods(
            plan,
            _of_groups(sums, slice(None, count)),
            _of_groups(sums, slice(count, None)),
            top_count=np.array([len(each.top) for each in of_groups], dtype=np.int64),
            generation_count=np.array([len(each.generation) for each in of_groups], dtype=np.int64),
            basis=question.basis or "consumption",
        )
        yield list(_periods(question, part_us, figures))


def _periods_at_once(question: SumsQuestion, edges_us: TimeArray) -> int:
    """Return how many periods one query reads: few enough to hold neither memory nor the database for long."""
    periods = edges_us.size - 1
    days = max(1.0, (question.to - question.from_).total_seconds() / 86_400)
    meters = len({meter_id for each in question.groups for meter_id in (*each.meters.top, *each.meters.generation)})
    rows_a_period = max(1.0, meters * days * _ROWS_A_DAY[question.per] / periods)
    by_figures = _FIGURES_AT_ONCE // max(1, len(question.groups))
    return max(1, min(_PERIODS_AT_ONCE, by_figures, int(_ROWS_AT_ONCE / rows_a_period)))


def _of_groups(sums: RunSums, groups: slice) -> RunSums:
    return RunSums(sums.import_kwh[groups], sums.export_kwh[groups], sums.estimated_kwh[groups], sums.covered_s[groups])


def _periods(question: SumsQuestion, edges_us: TimeArray, figures: PeriodFigures) -> Iterator[PeriodSums]:
    # [figure, group, period] to [period][group][figure]
    values: list[Any] = np.stack([getattr(figures, name) for name in FIGURES]).transpose(2, 1, 0).tolist()
    instants = [datetime_from_us(each) for each in edges_us.tolist()]
    for (begin, end), of_groups in zip(pairwise(instants), values, strict=True):
        if question.basis is None:
            of_groups = [(*of_group[:-2], None, None) for of_group in of_groups]  # noqa: PLW2901 - the same without carbon
        yield PeriodSums(_label(question.per, begin, question.zone), begin, end, of_groups)


def _label(per: Per, begin: datetime, zone: ZoneInfo) -> str:
    local = begin.astimezone(zone)
    day: date = local.date()
    match per:
        case "total":
            return "total"
        case "month":
            return f"{day:%Y-%m}"
        case "day":
            return day.isoformat()
        case "15m":
            return local.isoformat()


def _name_and_parent(plant: PlantView, by: ScopeKind, key: str | None) -> tuple[str, str | None]:
    if key is None:
        return plant.site.name, None
    match by:
        case "area":
            area = plant.area_by_key[key]
            parent = None if area.parent_area_id is None else plant.areas.get(area.parent_area_id)
            return area.name, None if parent is None else parent.key
        case "asset":
            return next(asset.name for asset in plant.assets.values() if asset.key == key), None
        case "meter":
            return plant.meter_by_key[key].name, None
        case _:
            return key, None
