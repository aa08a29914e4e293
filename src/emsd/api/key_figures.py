"""Key figures of assets over a window: the inputs read, the periods cut, each figure with its coverage and reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from emsd.energy.kpi import INPUTS, InputSeries, KpiDefinition, KpiValue, Method, kpi_value
from emsd.energy.series import BUCKET_15M_US, bucket_edges, datetime_from_us, datetime_to_us
from emsd.energy.windows import local_day_bounds
from emsd.plant.production import WEEKDAYS, IdleTime
from emsd.store.energy_series import EnergySeries, read_energy
from emsd.store.kpi import AssetSources
from emsd.store.kpi_inputs import read_asset_quarters
from emsd.store.pool import Session

__all__ = ["AssetFigures", "Figure", "Per", "figures_of", "lacks", "quarter_edges"]

Per: TypeAlias = Literal["total", "15m", "1d", "month"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One key figure of one period [from_, to)."""

    from_: datetime
    to: datetime
    value: KpiValue


@dataclass(frozen=True, slots=True)
class AssetFigures:
    """One key figure of one asset in every period; `reason` when it cannot be computed at all."""

    definition: KpiDefinition
    figures: Sequence[Figure]
    reason: str | None


@dataclass(frozen=True, slots=True)
class _Cut:
    """A period and the places of its quarter hours."""

    from_: datetime
    to: datetime
    places: slice


def quarter_edges(from_: datetime, to: datetime) -> NDArray[np.int64]:
    """Return the edges [us] of the quarter hours that touch [from_, to), int64[k + 1]."""
    return bucket_edges(datetime_to_us(from_), datetime_to_us(to), BUCKET_15M_US)


async def figures_of(
    connection: Session,
    sources: AssetSources,
    asset_id: int,
    definitions: Sequence[KpiDefinition],
    edges_us: NDArray[np.int64],
    per: Per,
    zone: ZoneInfo,
    idle_times: Sequence[IdleTime],
) -> list[AssetFigures]:
    """Return key figures of one asset over the quarter hours between k + 1 edges [us], period by period."""
    inputs = await _inputs(connection, sources, asset_id, definitions, edges_us)
    cuts = list(_cuts(edges_us, per, zone))
    always = np.ones(edges_us.size - 1, dtype=np.bool_)
    idle = _idle(edges_us, zone, idle_times) if any(each.when == "idle" for each in definitions) else always
    answers = []
    for definition in definitions:
        reasons = lacks(definition, sources)
        if reasons:
            nothing = KpiValue(None, 0.0, "; ".join(reasons))
            found = [Figure(cut.from_, cut.to, nothing) for cut in cuts]
        else:
            wanted = idle if definition.when == "idle" else always
            found = [
                Figure(
                    cut.from_,
                    cut.to,
                    kpi_value(
                        definition,
                        {name: _part(each, cut.places) for name, each in inputs.items()},
                        sources.facts,
                        wanted[cut.places],
                    ),
                )
                for cut in cuts
            ]
        answers.append(AssetFigures(definition, found, "; ".join(reasons) or None))
    return answers


def lacks(definition: KpiDefinition, sources: AssetSources) -> list[str]:
    """Return why a key figure of an asset cannot be computed, one sentence an input or fact; empty when it can."""
    missing = [name for name in definition.inputs if name not in sources.sources]
    reasons = [sources.gaps.get(name, f"{INPUTS[name].title} is not configured") for name in missing]
    return reasons + [f"{name} of the asset is not known" for name in definition.facts if name not in sources.facts]


async def _inputs(
    connection: Session,
    sources: AssetSources,
    asset_id: int,
    definitions: Iterable[KpiDefinition],
    edges_us: NDArray[np.int64],
) -> dict[str, InputSeries]:
    wanted = dict.fromkeys(name for each in definitions if not lacks(each, sources) for name in each.inputs)
    if any(each.when == "sun" for each in definitions) and "irradiation_kwh_m2" in sources.sources:
        wanted.setdefault("irradiation_kwh_m2")
    stored = await read_asset_quarters(connection, asset_id, list(wanted), edges_us)
    inputs = {
        name: InputSeries(parts.value, parts.coverage, is_amount=not name.endswith("_percent"))
        for name, parts in stored.items()
    }
    for name in wanted:
        if not INPUTS[name].stored:
            meter_ids = list(dict.fromkeys(part.meter_id for part in sources.sources[name]))
            exports = sources.sources[name][0].method == Method.YIELD
            inputs[name] = await _energy(connection, meter_ids, edges_us, exports=exports)
    return inputs


async def _energy(
    connection: Session, meter_ids: Sequence[int], edges_us: NDArray[np.int64], *, exports: bool
) -> InputSeries:
    """Return the sum of several feeders at the coverage of the one that is measured least.

    One feeder after the other: a year of quarter hours of a hundred of them is not held at once.
    """

    async def of(meter_id: int) -> InputSeries:
        found = await read_energy(connection, [meter_id], "15m", edges_us)
        return _direction(found[meter_id], exports=exports)

    first, *others = meter_ids
    total = await of(first)
    for meter_id in others:
        total = _together(total, await of(meter_id))
    return total


def _direction(series: EnergySeries, *, exports: bool) -> InputSeries:
    """Return the energy of one meter: what was measured of it, and what was counted; generation alone, or net."""
    if exports:
        measured = series.export_kwh - series.estimated_export_kwh
        return InputSeries(measured, series.coverage, series.export_kwh)
    estimated = series.estimated_import_kwh - series.estimated_export_kwh
    return InputSeries(series.net_kwh - estimated, series.coverage, series.net_kwh)


def _together(one: InputSeries, other: InputSeries) -> InputSeries:
    """Return the sum of two: the rates add up, and what the one lacks the sum lacks."""
    coverage = np.minimum(one.coverage, other.coverage)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = one.value / one.coverage + other.value / other.coverage
    counted = [each.value if each.counted is None else each.counted for each in (one, other)]
    return InputSeries(np.where(coverage > 0, rate * coverage, np.nan), coverage, counted[0] + counted[1])


def _part(series: InputSeries, places: slice) -> InputSeries:
    counted = None if series.counted is None else series.counted[places]
    return InputSeries(series.value[places], series.coverage[places], counted, series.is_amount)


def _cuts(edges_us: NDArray[np.int64], per: Per, zone: ZoneInfo) -> Iterator[_Cut]:
    if per in {"total", "15m"}:
        step = edges_us.size - 1 if per == "total" else 1
        bounds = list(range(0, edges_us.size, step))
    else:
        bounds = _local_bounds(edges_us, zone, whole_months=per == "month")
    for first, last in pairwise(bounds):
        begin, end = datetime_from_us(int(edges_us[first])), datetime_from_us(int(edges_us[last]))
        yield _Cut(begin, end, slice(first, last))


def _local_bounds(edges_us: NDArray[np.int64], zone: ZoneInfo, *, whole_months: bool) -> list[int]:
    """Return the places of edges at which a local day or month begins, with the first and the last edge."""
    last = edges_us.size - 1
    day = datetime_from_us(int(edges_us[0])).astimezone(zone).date()
    bounds = [0]
    while True:
        day += timedelta(days=1)
        if whole_months and day.day != 1:
            continue
        place = int(np.searchsorted(edges_us, datetime_to_us(local_day_bounds(day, zone)[0])))
        if place >= last:
            return [*bounds, last]
        bounds.append(place)


def _idle(edges_us: NDArray[np.int64], zone: ZoneInfo, idle_times: Sequence[IdleTime]) -> NDArray[np.bool_]:
    """Return which quarter hours lie in a time in which production rests, bool[k]."""
    by_weekday: Mapping[int, list[IdleTime]] = {
        number: [each for each in idle_times if name in each.weekdays] for number, name in enumerate(WEEKDAYS)
    }
    idle = np.zeros(edges_us.size - 1, dtype=np.bool_)
    if not idle_times:
        return idle
    for place, edge_us in enumerate(edges_us[:-1].tolist()):
        local = datetime_from_us(edge_us).astimezone(zone)
        minute = local.hour * 60 + local.minute
        idle[place] = any(each.begin_minute <= minute < each.end_minute for each in by_weekday[local.weekday()])
    return idle
