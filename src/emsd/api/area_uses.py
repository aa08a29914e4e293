"""What every area uses itself: what its meters count less what the meters below them count.

So the areas add up to the consumption of the site, PV used on site included, whatever hangs below what; what is metered
nowhere below stays with the area of the meter above.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final, NamedTuple

import numpy as np

from emsd.energy.carbon import CarbonFactor, factor_at, factor_cuts
from emsd.energy.series import BUCKET_1M_US, BUCKET_15M_US, FloatArray, TimeArray, bucket_edges, datetime_to_us
from emsd.energy.windows import Segment, split_by_tier
from emsd.plant.models import AssetKind
from emsd.store.best_energy import read_best_energy
from emsd.store.energy_series import EnergySeries, read_energy
from emsd.store.plant_view import PlantView
from emsd.store.pool import Session

__all__ = ["OUTSIDE", "AreaUse", "area_key", "area_uses"]

_BUCKETS_AT_ONCE: Final = 40_000
_WIDTHS: Final = {"1m": timedelta(minutes=1), "15m": timedelta(minutes=15)}
OUTSIDE: Final = "outside"
"""What the area is called of what is in none: activities of the whole site, meters whose asset has been removed."""


@dataclass(frozen=True, slots=True)
class AreaUse:
    """What was used in one area itself, without the areas in it.

    kwh, kg_co2       energy and location-based emissions, as if all of it came from the grid
    with_factor_kwh   the part of the energy for which a factor was valid
    estimated_kwh     the part of the energy that was spread over gaps or estimated
    coverage          measured share of the time, mean over the area's meters
    meters            how many meters that is
    """

    kwh: float
    kg_co2: float
    with_factor_kwh: float
    estimated_kwh: float
    coverage: float
    meters: int


async def area_uses(
    connection: Session,
    plant: PlantView,
    factors: Sequence[CarbonFactor],
    from_: datetime,
    to: datetime,
    *,
    buckets_at_once: int = _BUCKETS_AT_ONCE,
) -> dict[str, AreaUse]:
    """Return what every area used over [from_, to), by area key; both ends are full quarter hours.

    `factors` are location-based, of one region; `buckets_at_once`, of all meters together, bounds the memory.
    """
    meters = {each.meter_id: each for each in plant.meters.values() if each.measures_energy and each.counts}
    children: dict[int, list[int]] = defaultdict(list)
    for meter_id in meters:
        above = next((each for each in plant.ancestors(meter_id) if each in meters), None)
        if above is not None:
            children[above].append(meter_id)
    generators = {asset.asset_id for asset in plant.assets.values() if asset.kind == AssetKind.PV_INVERTER}
    using = [each for each in meters.values() if each.asset_id not in generators]
    uses: dict[int, AreaUse] = dict.fromkeys((each.meter_id for each in using), _NO_USE)
    segments_by_tier = _same_tier(split_by_tier(from_, to, plant.zone, factor_cuts(factors, from_, to)))
    at_once = max(1, buckets_at_once // max(1, len(meters)))
    for segments in (part for each in segments_by_tier for part in _parts(each, at_once)):
        await asyncio.sleep(0)  # a year of a thousand meters is a second of work
        edges_us = _edges_us(segments)
        read = read_energy if segments[0].tier == "1m" else read_best_energy
        energy = await read(connection, list(meters), segments[0].tier, edges_us)
        kg_per_kwh = _kg_per_kwh(segments, factors, edges_us)
        share = (edges_us[-1] - edges_us[0]) / 1e6 / (to - from_).total_seconds()
        passed = _Passed(energy, children)
        for meter in using:
            below = [passed.by(child) for child in children[meter.meter_id]]
            uses[meter.meter_id] = _plus(uses[meter.meter_id], _own(energy[meter.meter_id], below, kg_per_kwh, share))
    by_area: dict[str, list[AreaUse]] = defaultdict(list)
    for meter in using:
        by_area[area_key(plant, meter.asset_id)].append(uses[meter.meter_id])
    return {area: _together(each) for area, each in by_area.items()}


def area_key(plant: PlantView, asset_id: int) -> str:
    """Return the key of the area that an asset is in; OUTSIDE when it is in none that is configured."""
    asset = plant.assets.get(asset_id)
    area = None if asset is None else plant.areas.get(asset.area_id)
    return OUTSIDE if area is None else area.key


_NO_USE: Final = AreaUse(0.0, 0.0, 0.0, 0.0, 0.0, 1)


class _Flow(NamedTuple):
    """Energy and the estimated part of it, float64[k] [kWh] each; 0 where nothing is known."""

    kwh: FloatArray
    estimated_kwh: FloatArray


class _Passed:
    """What went through the place of each meter: where it said nothing, what those below it counted.

    So a meter that is new, or was away, moves no energy from the area below to the one above, nor counts it twice.
    """

    def __init__(self, energy: Mapping[int, EnergySeries], children: Mapping[int, Sequence[int]]) -> None:
        self._energy = energy
        self._children = children
        self._known: dict[int, _Flow] = {}

    def by(self, meter_id: int) -> _Flow:
        """Return what is known to have gone through the place of one meter."""
        if meter_id not in self._known:
            series = self._energy[meter_id]
            silent = np.isnan(series.net_kwh)
            flow = _counted(series)
            for child in self._children.get(meter_id, ()) if silent.any() else ():
                below = self.by(child)
                flow = _Flow(
                    flow.kwh + np.where(silent, below.kwh, 0.0),
                    flow.estimated_kwh + np.where(silent, below.estimated_kwh, 0.0),
                )
            self._known[meter_id] = flow
        return self._known[meter_id]


def _counted(series: EnergySeries) -> _Flow:
    return _Flow(np.nan_to_num(series.net_kwh), series.estimated_import_kwh - series.estimated_export_kwh)


def _own(series: EnergySeries, below: Sequence[_Flow], kg_per_kwh: FloatArray, share: float) -> AreaUse:
    """Return what one meter counted and those below it did not; where it said nothing, nothing is taken off."""
    known = ~np.isnan(series.net_kwh)
    own, estimated = _counted(series)
    for child in below:
        own = own - np.where(known, child.kwh, 0.0)
        estimated = estimated - np.where(known, child.estimated_kwh, 0.0)
    widths_us = series.edges_us[1:] - series.edges_us[:-1]
    return AreaUse(
        kwh=float(own.sum()),
        kg_co2=float((own * np.nan_to_num(kg_per_kwh)).sum()),
        with_factor_kwh=float(own[~np.isnan(kg_per_kwh)].sum()),
        estimated_kwh=float(estimated.sum()),
        coverage=float((series.coverage * widths_us).sum() / widths_us.sum()) * share,
        meters=1,
    )


def _plus(one: AreaUse, other: AreaUse) -> AreaUse:
    """Return what one meter counted in two parts of the time."""
    return AreaUse(
        one.kwh + other.kwh,
        one.kg_co2 + other.kg_co2,
        one.with_factor_kwh + other.with_factor_kwh,
        one.estimated_kwh + other.estimated_kwh,
        one.coverage + other.coverage,
        1,
    )


def _together(uses: Sequence[AreaUse]) -> AreaUse:
    return AreaUse(
        sum(each.kwh for each in uses),
        sum(each.kg_co2 for each in uses),
        sum(each.with_factor_kwh for each in uses),
        sum(each.estimated_kwh for each in uses),
        sum(each.coverage for each in uses) / len(uses),
        len(uses),
    )


def _same_tier(segments: Iterable[Segment]) -> Iterator[list[Segment]]:
    for _, group in groupby(segments, key=lambda each: each.tier):
        yield list(group)


def _parts(segments: Sequence[Segment], most: int) -> Iterator[list[Segment]]:
    """Yield the segments in parts of about as many buckets as may be, so that memory does not grow with the time."""
    part: list[Segment] = []
    buckets = 0.0
    for each in segments:
        more = 1.0 if each.tier == "1d" else (each.to - each.from_) / _WIDTHS[each.tier]
        if part and buckets + more > most:
            yield part
            part, buckets = [], 0.0
        part.append(each)
        buckets += more
    yield part


def _edges_us(segments: Sequence[Segment]) -> TimeArray:
    begin_us, end_us = datetime_to_us(segments[0].from_), datetime_to_us(segments[-1].to)
    if segments[0].tier == "1d":
        return np.array([*(datetime_to_us(each.from_) for each in segments), end_us], dtype=np.int64)
    return bucket_edges(begin_us, end_us, BUCKET_15M_US if segments[0].tier == "15m" else BUCKET_1M_US)


def _kg_per_kwh(segments: Sequence[Segment], factors: Sequence[CarbonFactor], edges_us: TimeArray) -> FloatArray:
    """Return the factor of every bucket [kg/kWh], NaN where none was valid; segments are cut where factors change."""
    kg_per_kwh = np.full(edges_us.size - 1, np.nan)
    for each in segments:
        factor = factor_at(factors, each.from_)
        if factor is not None:
            first, last = np.searchsorted(edges_us, (datetime_to_us(each.from_), datetime_to_us(each.to)))
            kg_per_kwh[first:last] = factor.kg_per_kwh
    return kg_per_kwh
