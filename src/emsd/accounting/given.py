"""Samples that are given instead of read: what accounting makes of them, without a database.

Minutes, quarter hours, gauges and inputs of key figures come from the same arithmetic as those of readings, so a
history that is written straight into the tiers is what accounting would have made of a meter that showed these samples.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from emsd.accounting.accounts import MeterAccount
from emsd.accounting.runs import Run, compute
from emsd.accounting.virtual import levels, virtual_minutes
from emsd.energy.counters import CONTEXT_SAMPLES, CounterRules
from emsd.energy.kpi import Parts, Signal, count
from emsd.energy.series import BUCKET_1M_US, BUCKET_15M_US, US_PER_S, FloatArray, TimeArray
from emsd.plant.kpi import Part
from emsd.plant.loader import LoadedPlant
from emsd.quantities import BY_NAME
from emsd.store.bucket_series import MinuteSeries
from emsd.store.intervals import MinuteRows
from emsd.store.samples import SampleRows
from emsd.store.simulated_history import GaugeQuarters, QuarterRows
from emsd.store.virtual_meters import VirtualRow

__all__ = [
    "ENERGY_SAMPLES",
    "GivenSamples",
    "Shown",
    "gauge_quarters",
    "minutes_of",
    "quarters_of",
    "sample_times",
    "step_s",
    "virtual_minutes_of",
]

Shown: TypeAlias = Callable[[str, TimeArray, Collection[str]], Mapping[str, FloatArray]]
"""What a reader of a meter, by its key, gets at many times [us], by quantity; NaN where there is no value.

It is asked for some quantities, and gives those of them that the meter has.
"""

ENERGY_SAMPLES: Final = ("energy_import_kwh", "energy_export_kwh", "active_power_kw")
"""What the energy of a meter is made of."""

_STEPS_S: Final = (60, 30, 20, 15, 10, 5, 2, 1)
_ANGLE: Final = "deg"


def step_s(loaded: LoadedPlant) -> int:
    """Return the time between two samples [s]: a minute, or less where a meter's max_gap_s is shorter."""
    least_s = min((meter.max_gap_s for meter in loaded.plant.meters), default=float(_STEPS_S[0]))
    return next((each for each in _STEPS_S if each <= least_s), _STEPS_S[-1])


def sample_times(from_us: int, to_us: int, every_s: int) -> TimeArray:
    """Return the times of samples in [from_us, to_us) [us], and of as many around it as a counter is judged by."""
    width_us = every_s * US_PER_S
    return np.arange(from_us - CONTEXT_SAMPLES * width_us, to_us + (CONTEXT_SAMPLES + 1) * width_us, width_us)


def minutes_of(
    account: MeterAccount, times_us: TimeArray, shown: Mapping[str, FloatArray], from_us: int, to_us: int
) -> MinuteRows:
    """Return the minutes [from_us, to_us) of an energy meter from its samples."""
    nothing = np.full(times_us.size, np.nan)
    columns = (np.asarray(shown.get(name, nothing), dtype=np.float64) for name in ENERGY_SAMPLES)
    rows = SampleRows(times_us, *columns)
    return compute(Run(account, from_us, to_us), rows)


def virtual_minutes_of(
    virtual: Sequence[VirtualRow], made: Mapping[int, MinuteRows], from_us: int, to_us: int
) -> dict[int, MinuteRows]:
    """Return the minutes of virtual meters from those of the meters that they are made of."""
    minutes_us = np.arange(from_us, to_us, BUCKET_1M_US, dtype=np.int64)
    wanted = set(minutes_us.tolist())
    series = {meter_id: _dense(rows, minutes_us) for meter_id, rows in made.items()}
    found: dict[int, MinuteRows] = {}
    for level in levels(virtual):
        for row in level:
            for source in row.factors:
                series.setdefault(source, _unknown(minutes_us.size))
            found[row.meter_id] = virtual_minutes(row, series, minutes_us, wanted)
            series[row.meter_id] = _dense(found[row.meter_id], minutes_us)
    return found


def quarters_of(rows: MinuteRows) -> QuarterRows:
    """Return the quarter hours that minutes make: as `emsd.store.intervals.build_quarters` does in the database."""
    quarter = rows.bucket_us - rows.bucket_us % BUCKET_15M_US
    bucket_us, starts = np.unique(quarter, return_index=True)
    with_power = np.isfinite(rows.power_avg_kw)
    weight = _sums(np.where(with_power, rows.sample_count, 0).astype(np.float64), starts)
    weighted = _sums(np.where(with_power, rows.power_avg_kw * rows.sample_count, 0.0), starts)
    return QuarterRows(
        meter_id=rows.meter_id,
        bucket_us=bucket_us,
        energy_import_kwh=_sums(rows.energy_import_kwh, starts),
        energy_export_kwh=_sums(rows.energy_export_kwh, starts),
        estimated_import_kwh=_sums(np.nan_to_num(rows.estimated_import_kwh), starts),
        estimated_export_kwh=_sums(np.nan_to_num(rows.estimated_export_kwh), starts),
        power_min_kw=_extreme(np.fmin, rows.power_min_kw, starts),
        power_avg_kw=np.where(weight > 0, weighted / np.where(weight > 0, weight, 1.0), np.nan),
        power_max_kw=_extreme(np.fmax, rows.power_max_kw, starts),
        coverage=_sums(rows.coverage, starts) / (BUCKET_15M_US // BUCKET_1M_US),
        sample_count=np.add.reduceat(rows.sample_count, starts) if starts.size else rows.sample_count,
        flags=(np.bitwise_or.reduceat(rows.flags, starts) if starts.size else rows.flags).astype(np.int64),
    )


def gauge_quarters(
    meter_id: int, quantity_id: int, name: str, times_us: TimeArray, values: FloatArray, from_us: int, to_us: int
) -> GaugeQuarters:
    """Return extremes and mean of a gauge in the quarter hours [from_us, to_us), as emsd.store.gauges makes them."""
    usable = (times_us >= from_us) & (times_us < to_us) & np.isfinite(values)
    times, known = times_us[usable], values[usable]
    bucket_us, starts, counts = np.unique(times - times % BUCKET_15M_US, return_index=True, return_counts=True)
    if not starts.size:
        return GaugeQuarters(meter_id, quantity_id, bucket_us, known, known, known, counts)
    mean = np.add.reduceat(known, starts) / counts
    if BY_NAME[name].unit == _ANGLE:
        # The mean of directions is that of unit vectors.
        sine, cosine = (np.add.reduceat(turn(np.radians(known)), starts) for turn in (np.sin, np.cos))
        mean = np.degrees(np.arctan2(sine, cosine)) % 360.0
    low, high = np.minimum.reduceat(known, starts), np.maximum.reduceat(known, starts)
    return GaugeQuarters(meter_id, quantity_id, bucket_us, low, mean, high, counts)


@dataclass(frozen=True, slots=True, eq=False)
class GivenSamples:
    """Samples around some quarter hours, for the inputs of key figures; `shown` by meter key and quantity."""

    loaded: LoadedPlant
    times_us: TimeArray
    edges_us: TimeArray
    every_s: int
    shown: Mapping[str, Mapping[str, FloatArray]]

    async def signal(self, part: Part, *, holds: bool = False) -> Signal:
        """Return a gauge; one that is reported by exception holds its value anyway."""
        meter = self.loaded.meters_by_key[part.meter]
        by_exception = self.loaded.profile_of(meter).reports_by_exception
        return Signal(self.times_us, self._values(part), meter.max_gap_s, holds or by_exception)

    async def counted(self, part: Part) -> Parts:
        """Return what a counter counted in the quarter hours."""
        meter = self.loaded.meters_by_key[part.meter]
        profile = self.loaded.profile_of(meter)
        rules = CounterRules(
            max_gap_s=meter.max_gap_s,
            count_kwh=profile.counter_count(part.quantity) or 0.0,
            modulus_kwh=profile.counter_modulus(part.quantity),
        )
        return count(self.times_us, self._values(part), rules, self.edges_us)

    async def means(self, parts: Sequence[Part]) -> tuple[FloatArray, FloatArray]:
        """Return the means of several gauges of one meter over the samples that have all of them."""
        values = np.array([self._values(part) for part in parts])
        inside = (self.times_us >= self.edges_us[0]) & (self.times_us < self.edges_us[-1])
        chosen = inside & np.isfinite(values).all(axis=0)
        place = np.searchsorted(self.edges_us, self.times_us[chosen], side="right") - 1
        quarters = self.edges_us.size - 1
        samples = np.bincount(place, minlength=quarters)
        sums = np.array([np.bincount(place, weights=each[chosen], minlength=quarters) for each in values])
        means = np.where(samples > 0, sums / np.maximum(samples, 1), np.nan)
        return means, np.minimum(samples * self.every_s * US_PER_S / BUCKET_15M_US, 1.0)

    def _values(self, part: Part) -> NDArray[np.float64]:
        found = self.shown.get(part.meter, {}).get(part.quantity)
        return np.full(self.times_us.size, np.nan) if found is None else np.asarray(found, dtype=np.float64)


def _dense(rows: MinuteRows, minutes_us: TimeArray) -> MinuteSeries:
    """Return rows of some minutes as series of all of them."""
    place = np.searchsorted(minutes_us, rows.bucket_us)

    def spread(values: NDArray[np.generic], empty: float) -> FloatArray:
        column = np.full(minutes_us.size, empty)
        column[place] = values
        return column

    estimated = np.nan_to_num(rows.estimated_import_kwh) + np.nan_to_num(rows.estimated_export_kwh)
    return MinuteSeries(
        spread(rows.energy_import_kwh, np.nan),
        spread(rows.energy_export_kwh, np.nan),
        spread(estimated, 0.0),
        spread(rows.coverage, 0.0),
        spread(rows.power_avg_kw, np.nan),
        spread(rows.sample_count, 0.0),
        spread(rows.flags, 0.0).astype(np.uint8),
    )


def _unknown(minutes: int) -> MinuteSeries:
    nan, zero = np.full(minutes, np.nan), np.zeros(minutes)
    return MinuteSeries(nan, nan, zero, zero, nan, zero, np.zeros(minutes, dtype=np.uint8))


def _sums(values: FloatArray, starts: NDArray[np.intp]) -> FloatArray:
    """Return the sum of what is known of each group; NaN where nothing is."""
    if not starts.size:
        return np.array([])
    known = np.isfinite(values)
    sums: FloatArray = np.add.reduceat(np.where(known, values, 0.0), starts)
    return np.where(np.add.reduceat(known.astype(np.int64), starts) > 0, sums, np.nan)


def _extreme(pick: np.ufunc, values: FloatArray, starts: NDArray[np.intp]) -> FloatArray:
    if not starts.size:
        return np.array([])
    found: FloatArray = pick.reduceat(values, starts)
    return found
