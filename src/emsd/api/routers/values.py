"""Values of meters: the newest, readings over time, intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal, TypeAlias

from fastapi import APIRouter, Depends, Query

from emsd.api.dependencies import ApiDependencies, CurrentConfiguration, Given
from emsd.api.parameters import FromTime, MeterKey, ToTime, refuse_unknown_parameters, time_range
from emsd.api.problems import problem_responses, raise_unknown
from emsd.api.routers.plant import meter_called
from emsd.api.schemas.values import (
    IntervalPoint,
    IntervalSeries,
    LatestList,
    LatestValue,
    MeterLatest,
    QuantitySeries,
    ReadingPoint,
    ReadingSeries,
)
from emsd.energy.series import IncrementFlag
from emsd.energy.windows import Tier
from emsd.ingest.live import LiveValue
from emsd.quantities import BY_NAME
from emsd.readings import Quality, to_datetime
from emsd.store.plant_view import MeterRow
from emsd.store.series import LatestRow, read_intervals, read_latest, read_series

__all__ = ["quality_names", "router"]

router = APIRouter(prefix="/api/v1", tags=["values"], dependencies=[Depends(refuse_unknown_parameters)])

Source: TypeAlias = Literal["live", "database"]
_LONGEST_READINGS: Final = timedelta(days=31)
_DEFAULT_INTERVALS: Final[Mapping[Tier, timedelta]] = {
    "1m": timedelta(hours=1),
    "15m": timedelta(days=1),
    "1d": timedelta(days=31),
}
_LONGEST_INTERVALS: Final[Mapping[Tier, timedelta]] = {
    "1m": timedelta(days=7),
    "15m": timedelta(days=100),
    "1d": timedelta(days=3660),
}
_BUCKETS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_DAY_S: Final = 86400


@router.get("/latest", summary="The newest values of all meters", responses=problem_responses(422, 503))
async def latest_of_all(given: Given, configuration: CurrentConfiguration) -> LatestList:
    """Return the newest known value of every quantity of every meter, with its age.

    Virtual and derived meters are among them only when they have some.
    """
    meters = configuration.plant.meters.values()
    devices = {meter.key for meter in meters if meter.kind == "device"}
    found = await _latest(given, list(meters))
    return LatestList(meters=[each for each in found if each.values or each.meter in devices])


@router.get(
    "/meters/{key}/latest", summary="The newest values of one meter", responses=problem_responses(404, 422, 503)
)
async def latest_of_meter(key: MeterKey, given: Given, configuration: CurrentConfiguration) -> MeterLatest:
    """Return the newest known value of every quantity of one meter, with its age."""
    (latest,) = await _latest(given, [meter_called(configuration.plant, key)])
    return latest


@router.get(
    "/meters/{key}/readings", summary="Readings of one meter, downsampled", responses=problem_responses(404, 422, 503)
)
async def readings_of_meter(
    key: MeterKey,
    given: Given,
    configuration: CurrentConfiguration,
    quantity: Annotated[
        list[str],
        Query(min_length=1, max_length=8, description="Quantity; repeat it for more.", examples=[["active_power_kw"]]),
    ],
    from_: FromTime = None,
    to: ToTime = None,
    max_points: Annotated[int, Query(ge=10, le=5000, description="Most points of each quantity.")] = 500,
) -> ReadingSeries:
    """Return at most `max_points` buckets: minimum, mean and maximum of gauges, the last value of counters.

    Without `from` it is the last hour. At most 31 days; for longer times ask for intervals.
    """
    meter = meter_called(configuration.plant, key)
    chosen = [BY_NAME.get(name) or raise_unknown("quantity", name, BY_NAME) for name in dict.fromkeys(quantity)]
    span = time_range(
        from_,
        to,
        now=given.now(),
        default=timedelta(hours=1),
        longest=_LONGEST_READINGS,
        cure="ask for at most 31 days, or for intervals",
    )
    bucket_s = _bucket_s(span.length, max_points)
    points = await read_series(
        given.pool, meter.meter_id, chosen, span.from_, span.to, bucket=timedelta(seconds=bucket_s)
    )
    series = [
        QuantitySeries(
            quantity=each.name,
            unit=each.unit,
            kind=each.kind,
            points=[
                ReadingPoint(time=point.time, min=point.minimum, avg=point.mean, max=point.maximum, last=point.last)
                for point in points[each.name]
            ],
        )
        for each in chosen
    ]
    return ReadingSeries(meter=key, from_=span.from_, to=span.to, bucket_s=bucket_s, series=series)


@router.get("/meters/{key}/intervals", summary="Intervals of one meter", responses=problem_responses(404, 422, 503))
async def intervals_of_meter(
    key: MeterKey,
    given: Given,
    configuration: CurrentConfiguration,
    tier: Annotated[Tier, Query(description="Width: minute, quarter of an hour, local day.")] = "15m",
    from_: FromTime = None,
    to: ToTime = None,
) -> IntervalSeries:
    """Return energy, power and coverage of the intervals that begin in the range.

    Without `from` it is the last hour, day or 31 days. At most 7 days of minutes, 100 days of quarters and 10 years of
    days.
    """
    meter = meter_called(configuration.plant, key)
    span = time_range(
        from_,
        to,
        now=given.now(),
        default=_DEFAULT_INTERVALS[tier],
        longest=_LONGEST_INTERVALS[tier],
        cure="ask for less, or for a wider tier",
    )
    rows = await read_intervals(given.pool, meter.meter_id, tier, span.from_, span.to)
    intervals = [
        IntervalPoint(
            time=row.bucket,
            energy_import_kwh=row.energy_import_kwh,
            energy_export_kwh=row.energy_export_kwh,
            estimated_import_kwh=row.estimated_import_kwh,
            estimated_export_kwh=row.estimated_export_kwh,
            power_min_kw=row.power_min_kw,
            power_avg_kw=row.power_avg_kw,
            power_max_kw=row.power_max_kw,
            coverage=row.coverage,
            sample_count=row.sample_count,
            flags=_flag_names(IncrementFlag(row.flags)),
        )
        for row in rows
    ]
    return IntervalSeries(meter=key, tier=tier, from_=span.from_, to=span.to, intervals=intervals)


def quality_names(quality: int) -> list[str]:
    """Return the flags of a quality by name, lower case; empty is good."""
    return _flag_names(Quality(quality))


def _flag_names(flags: Quality | IncrementFlag) -> list[str]:
    return [flag.name.lower() for flag in flags if flag.name is not None]


def _bucket_s(length: timedelta, max_points: int) -> int:
    """Return the narrowest round bucket [s] of which `max_points` cover the length."""
    least_s = length.total_seconds() / max_points
    for bucket_s in _BUCKETS_S:
        if bucket_s >= least_s:
            return bucket_s
    return -int(-least_s // _DAY_S) * _DAY_S


async def _latest(given: ApiDependencies, meters: Sequence[MeterRow]) -> list[MeterLatest]:
    """Newest values of the meters, from this process where it has them, else from the database."""
    now = given.now()
    found: dict[int, MeterLatest] = {}
    if given.live is not None:
        for meter in meters:
            if latest := given.live.latest(meter.meter_id):
                found[meter.meter_id] = _meter_latest(meter, "live", _live_values(latest, now))
    missing = [meter.meter_id for meter in meters if meter.meter_id not in found]
    stored: dict[int, list[LatestRow]] = {meter_id: [] for meter_id in missing}
    if missing:
        for row in await read_latest(given.pool, missing, now):
            stored[row.meter_id].append(row)
    for meter in meters:
        if meter.meter_id not in found:
            found[meter.meter_id] = _meter_latest(meter, "database", _stored_values(stored[meter.meter_id], now))
    return [found[meter.meter_id] for meter in meters]


def _live_values(latest: Mapping[str, LiveValue], now: datetime) -> dict[str, LatestValue]:
    return {
        name: _latest_value(each.value, BY_NAME[name].unit, to_datetime(each.time_us), each.quality, now)
        for name, each in latest.items()
    }


def _stored_values(rows: Iterable[LatestRow], now: datetime) -> dict[str, LatestValue]:
    return {row.quantity.name: _latest_value(row.value, row.quantity.unit, row.time, row.quality, now) for row in rows}


def _latest_value(value: float | None, unit: str, time: datetime, quality: int, now: datetime) -> LatestValue:
    return LatestValue(
        value=value, unit=unit, time=time, age_s=(now - time).total_seconds(), quality=quality_names(quality)
    )


def _meter_latest(meter: MeterRow, source: Source, values: dict[str, LatestValue]) -> MeterLatest:
    newest = max(values.values(), key=lambda each: each.time, default=None)
    return MeterLatest(
        meter=meter.key,
        source=source,
        time=None if newest is None else newest.time,
        age_s=None if newest is None else newest.age_s,
        values=values,
    )
