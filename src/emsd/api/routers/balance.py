"""The balance of buses: what a meter counts against what the meters below it count."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal, TypeAlias

import numpy as np
from fastapi import APIRouter, Depends, Query

from emsd.api.dependencies import CurrentConfiguration, Given
from emsd.api.parameters import FromTime, ToTime, refuse, refuse_unknown_parameters, time_range
from emsd.api.problems import problem_responses, raise_unknown
from emsd.api.schemas.balance import BalanceList, BalancePoint, BusBalance, ChildEnergy
from emsd.energy.balance import BalanceSeries, BalanceTotal, balance, joined_total, total
from emsd.energy.demand import TRUSTED_COVERAGE
from emsd.energy.series import BUCKET_15M_US, US_PER_HOUR, FloatArray, bucket_edges
from emsd.energy.windows import local_day_edges, settled_minute
from emsd.readings import instant_us, to_datetime
from emsd.store.balance import BalanceEnergy, Stretch, portions, read_balance_energy, stretches
from emsd.store.plant_view import PlantView
from emsd.store.reads import snapshot

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["energy"], dependencies=[Depends(refuse_unknown_parameters)])

Step: TypeAlias = Literal["15m", "1d"]
Band: TypeAlias = tuple[float, float] | None
_DEFAULT: Final = timedelta(days=1)
_LONGEST: Final = timedelta(days=3660)
_LONGEST_BY_STEP: Final[Mapping[Step, timedelta]] = {"15m": timedelta(days=100), "1d": _LONGEST}
_MOST_POINTS: Final = 20_000


@router.get("/energy/balance", summary="Balance of buses", responses=problem_responses(404, 422, 503))
async def energy_balance(
    given: Given,
    configuration: CurrentConfiguration,
    bus: Annotated[
        str | None,
        Query(max_length=80, description="Key of a meter with meters below it; absent: all.", examples=["incomer"]),
    ] = None,
    from_: FromTime = None,
    to: ToTime = None,
    step: Annotated[
        Step | None,
        Query(
            description="Also give points of this width, of those that lie wholly in the range; absent: totals only."
        ),
    ] = None,
) -> BalanceList:
    """Return bus less children over [from, to): the residual, as energy, mean power and percent of what came onto it.

    Without a range these are the last 24 hours up to the last settled minute; later minutes are left out. The residual
    is stated of the time in which the bus and all of its children are known; `balanced_share` says how much that is,
    and `missing` who was not.
    """
    plant = configuration.plant
    if bus is not None and (bus not in plant.meter_by_key or plant.meter_by_key[bus].meter_id not in plant.buses):
        raise_unknown("bus", bus, [plant.meters[each].key for each in plant.buses])
    chosen = [each for each in _in_tree_order(plant) if bus is None or plant.meters[each].key == bus]
    settled = settled_minute(given.now(), given.settle_s)
    begin, end, buckets = _buckets(from_, to, step, settled, plant)
    if step is not None and len(chosen) * sum(each.edges_us.size - 1 for each in buckets) > _MOST_POINTS:
        raise refuse("query.step", f"would give more than {_MOST_POINTS} points", "name one bus, or a shorter range")
    wanted = {each for meter_id in chosen for each in (meter_id, *(child.meter_id for child in plant.buses[meter_id]))}
    window_us = instant_us(end) - instant_us(begin)
    tallies = [_Tally(plant, each, window_us, with_points=step is not None) for each in chosen]
    async with snapshot(given.pool, "balance the buses") as connection:
        for part in portions(buckets, len(wanted)):
            energy = await read_balance_energy(connection, sorted(wanted), part)
            for tally in tallies:
                tally.add(energy)
                await asyncio.sleep(0)  # others have their turn
    return BalanceList(from_=begin, to=end, step=step, buses=[_bus_balance(plant, each) for each in tallies])


class _Tally:
    """The balance of one bus, added up portion after portion."""

    def __init__(self, plant: PlantView, meter_id: int, window_us: int, *, with_points: bool) -> None:
        self.meter_id = meter_id
        self.window_us = window_us
        self.points: list[BalancePoint] | None = [] if with_points else None
        self._children = plant.buses[meter_id]
        self._parts: list[BalanceTotal] = []
        self._nets: dict[str, list[float]] = {child.key: [] for child in self._children}
        self._coverage = dict.fromkeys(self._nets, 0.0)

    def add(self, energy: BalanceEnergy) -> None:
        members = {each.key: energy.by_meter[each.meter_id] for each in self._children}
        series = balance(energy.by_meter[self.meter_id], members)
        self._parts.append(total(series, energy.widths_us, self.window_us))
        balanced = np.isfinite(series.residual_kwh)
        share = energy.widths_us / self.window_us
        for key, own in members.items():
            if balanced.any():
                self._nets[key].append(float(own.net_kwh[balanced].sum()))
            self._coverage[key] += float((share * own.coverage).sum())
        if self.points is not None:
            self.points.extend(_points(energy, series))

    def total(self) -> BalanceTotal:
        return joined_total(self._parts)

    def children(self, whole: BalanceTotal) -> list[ChildEnergy]:
        return [
            ChildEnergy(
                meter=key,
                net_kwh=sum(nets) if nets else None,
                coverage=self._coverage[key],
                missing_share=whole.missing.get(key, 0.0),
            )
            for key, nets in self._nets.items()
        ]


def _buckets(
    from_: datetime | None, to: datetime | None, step: Step | None, settled: datetime, plant: PlantView
) -> tuple[datetime, datetime, list[Stretch]]:
    longest = _LONGEST if step is None else _LONGEST_BY_STEP[step]
    asked = time_range(from_, to, now=settled, default=_DEFAULT, longest=longest, cure="ask for a shorter range")
    begin, end = _minute(asked.from_), min(_minute(asked.to), settled)
    if begin >= end:
        raise refuse("query.from", "no minute of the range has settled yet", "ask for an earlier range")
    if step is None:
        return begin, end, stretches(begin, end, plant.zone)
    if step == "15m":
        edges = bucket_edges(instant_us(begin), instant_us(end), BUCKET_15M_US)
    else:
        zone = plant.zone
        edges = local_day_edges(begin.astimezone(zone).date(), end.astimezone(zone).date(), zone)
    edges = edges[(edges >= instant_us(begin)) & (edges <= instant_us(end))]
    if edges.size < 2:
        raise refuse("query.step", f"no whole {step} bucket lies in the range", "ask for a longer range")
    return to_datetime(int(edges[0])), to_datetime(int(edges[-1])), [Stretch(step, edges)]


def _minute(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(second=0, microsecond=0)


def _in_tree_order(plant: PlantView) -> Iterator[int]:
    """Yield the buses, each followed by those below it."""
    below: dict[int | None, list[int]] = {}
    for meter_id in plant.buses:
        below.setdefault(_bus_above(plant, meter_id), []).append(meter_id)

    def walk(above: int | None) -> Iterator[int]:
        for meter_id in below.get(above, ()):
            yield meter_id
            yield from walk(meter_id)

    return walk(None)


def _bus_above(plant: PlantView, meter_id: int) -> int | None:
    """The next meter upstream by parent; it is a bus, having this one below it."""
    parent = plant.meters[meter_id].parent_meter_id
    return parent if parent in plant.buses else None


def _depth(plant: PlantView, meter_id: int) -> int:
    depth, above = 0, _bus_above(plant, meter_id)
    while above is not None and depth < len(plant.buses):
        depth, above = depth + 1, _bus_above(plant, above)
    return depth


def _bus_balance(plant: PlantView, tally: _Tally) -> BusBalance:
    meter_id, meter, whole = tally.meter_id, plant.meters[tally.meter_id], tally.total()
    hours = whole.balanced_share * tally.window_us / US_PER_HOUR
    residual_kw = None if whole.residual_kwh is None else whole.residual_kwh / hours
    band_percent = _band(meter.residual_low_percent, meter.residual_high_percent)
    band_kw = _band(meter.residual_low_kw, meter.residual_high_kw)
    above = _bus_above(plant, meter_id)
    return BusBalance(
        bus=meter.key,
        name=meter.name,
        parent=None if above is None else plant.meters[above].key,
        depth=_depth(plant, meter_id),
        residual_kind=meter.residual_kind,
        band_percent=band_percent,
        band_kw=band_kw,
        measured_kwh=whole.measured_kwh,
        children_kwh=whole.children_kwh,
        supply_kwh=whole.supply_kwh,
        residual_kwh=whole.residual_kwh,
        residual_percent=whole.residual_percent,
        residual_kw=residual_kw,
        within_band=_within(whole, residual_kw, band_percent, band_kw),
        coverage=whole.coverage,
        children_coverage=whole.children_coverage,
        estimated_kwh=whole.estimated_kwh,
        balanced_share=whole.balanced_share,
        bus_missing_share=whole.bus_missing_share,
        missing=sorted(whole.missing),
        children=tally.children(whole),
        points=tally.points,
    )


def _points(energy: BalanceEnergy, series: BalanceSeries) -> Iterator[BalancePoint]:
    columns: Sequence[FloatArray] = (
        series.measured_kwh,
        series.children_kwh,
        series.residual_kwh,
        series.residual_percent,
    )
    for place, begin_us in enumerate(energy.begins_us.tolist()):
        measured, children, residual, percent = (_known(float(column[place])) for column in columns)
        yield BalancePoint(
            time=to_datetime(begin_us),
            measured_kwh=measured,
            children_kwh=children,
            residual_kwh=residual,
            residual_percent=percent,
            coverage=float(series.coverage[place]),
            children_coverage=float(series.children_coverage[place]),
        )


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _band(low: float | None, high: float | None) -> Band:
    return None if low is None or high is None else (low, high)


def _within(whole: BalanceTotal, residual_kw: float | None, band_percent: Band, band_kw: Band) -> bool | None:
    """Whether the residual is inside every band that is given; None when too little of the window is balanced."""
    if whole.balanced_share < TRUSTED_COVERAGE:
        return None
    judged = [
        band[0] <= value <= band[1]
        for value, band in ((whole.residual_percent, band_percent), (residual_kw, band_kw))
        if value is not None and band is not None
    ]
    return all(judged) if judged else None
