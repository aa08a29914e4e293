"""All of one meter: its samples in, its buckets out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from emsd.energy.counters import CounterRules, increments
from emsd.energy.events import EventKind, MeterEvent, ratio_of
from emsd.energy.intervals import Buckets, flags_in_buckets, power_statistics, spread
from emsd.energy.power import PowerMethod, integrate_power
from emsd.energy.series import US_PER_S, BoolArray, FlagArray, FloatArray, Increments, TimeArray
from emsd.energy.spliced import spliced_increments

__all__ = ["EnergySource", "MeterBuckets", "MeterSamples", "energy_of", "meter_buckets"]


class EnergySource(StrEnum):
    """Where a meter's energy comes from."""

    COUNTERS = "counters"
    POWER = "power"
    NONE = "none"


@dataclass(frozen=True, slots=True, eq=False)
class MeterSamples:
    """Samples of one meter in ascending order of time.

    time_us     int64[n]
    import_kwh  float[n] counter of consumed energy [kWh], NaN where missing; None when the meter has no such counter
    export_kwh  float[n] counter of generated energy [kWh], likewise
    power_kw    float[n] active power [kW], consumption positive, likewise
    """

    time_us: TimeArray
    import_kwh: FloatArray | None = None
    export_kwh: FloatArray | None = None
    power_kw: FloatArray | None = None

    @property
    def source(self) -> EnergySource:
        """Counters where the meter has one, else its power; a counter that is silent is not replaced by power."""
        if self.import_kwh is not None or self.export_kwh is not None:
            return EnergySource.COUNTERS
        return EnergySource.NONE if self.power_kw is None else EnergySource.POWER


@dataclass(frozen=True, slots=True, eq=False)
class MeterBuckets:
    """What k buckets of one meter hold; NaN where nothing is known.

    energy_import_kwh, energy_export_kwh        float64[k] [kWh]
    estimated_import_kwh, estimated_export_kwh  float64[k] [kWh], the part of it from too long gaps
    coverage        float64[k], 0..1, share of the whole bucket in stretches of known energy that are not estimated,
                    of the better covered direction
    power_min_kw, power_avg_kw, power_max_kw    float64[k] [kW], of the power samples
    sample_count    int64[k], samples with any value
    flags           uint8[k], bits of IncrementFlag of all stretches that touch the bucket
    pending         the last samples cannot be judged before later ones come
    """

    energy_import_kwh: FloatArray
    energy_export_kwh: FloatArray
    estimated_import_kwh: FloatArray
    estimated_export_kwh: FloatArray
    coverage: FloatArray
    power_min_kw: FloatArray
    power_avg_kw: FloatArray
    power_max_kw: FloatArray
    sample_count: NDArray[np.int64]
    flags: FlagArray
    pending: bool


def energy_of(
    samples: MeterSamples,
    rules: CounterRules,
    power_method: PowerMethod = "trapezoid",
    events: Sequence[MeterEvent] = (),
) -> tuple[Increments | None, Increments | None]:
    """Return consumption and generation of a meter; None for a direction that it does not measure.

    `events` are those of the meter that count, in order of time (see `events.effective`); where they hold samples out
    or change the ratio of power, `samples` are still as the device told them. Raises ValueError when the times descend.
    """
    held_out = _held_out(samples, events)
    if samples.source is EnergySource.POWER:
        samples = _corrected(samples, events, held_out)
        power_kw = np.empty(0) if samples.power_kw is None else samples.power_kw
        return integrate_power(samples.time_us, power_kw, method=power_method, max_gap_s=rules.max_gap_s)
    taken, given = samples.import_kwh, samples.export_kwh
    if not events:
        return (
            None if taken is None else increments(samples.time_us, taken, rules, is_whole=False),
            None if given is None else increments(samples.time_us, given, rules, is_whole=False),
        )
    return (
        None if taken is None else spliced_increments(samples.time_us, taken, rules, "import_kwh", events, held_out),
        None if given is None else spliced_increments(samples.time_us, given, rules, "export_kwh", events, held_out),
    )


def meter_buckets(
    samples: MeterSamples,
    rules: CounterRules,
    edges_us: TimeArray,
    *,
    power_method: PowerMethod = "trapezoid",
    events: Sequence[MeterEvent] = (),
) -> MeterBuckets:
    """Return energy, power and coverage of one meter in the buckets between k + 1 ascending edges [us].

    The samples should reach CONTEXT_SAMPLES beyond both outer edges; those outside count for the energy between
    samples and for judging faults, not for power and sample_count. `events` are those of the meter that count, in
    order of time. Raises ValueError when the times descend.
    """
    edges_us = np.asarray(edges_us, dtype=np.int64)
    k = edges_us.size - 1
    width_s = (edges_us[1:] - edges_us[:-1]) / US_PER_S
    coverage = np.zeros(k)
    flags = np.zeros(k, dtype=np.uint8)
    pending = False
    directions: list[Buckets] = []
    found = energy_of(samples, rules, power_method, events)
    if events:
        samples = _corrected(samples, events, _held_out(samples, events))
    for direction in found:
        if direction is None:
            directions.append(Buckets(np.full(k, np.nan), np.full(k, np.nan), np.zeros(k)))
            continue
        buckets = spread(direction, edges_us)
        directions.append(buckets)
        coverage = np.maximum(coverage, buckets.covered_s / width_s)
        if direction.flags.any():
            flags |= flags_in_buckets(direction, edges_us)
        pending = pending or direction.pending
    taken, given = directions

    if samples.power_kw is None:
        low = mean = high = np.full(k, np.nan)
    else:
        power = power_statistics(samples.time_us, samples.power_kw, edges_us)
        low, mean, high = power.min_kw, power.mean_kw, power.max_kw
    return MeterBuckets(
        energy_import_kwh=taken.energy_kwh,
        energy_export_kwh=given.energy_kwh,
        estimated_import_kwh=taken.estimated_kwh,
        estimated_export_kwh=given.estimated_kwh,
        coverage=coverage,
        power_min_kw=low,
        power_avg_kw=mean,
        power_max_kw=high,
        sample_count=_samples_with_any_value(samples, edges_us),
        flags=flags,
        pending=pending,
    )


def _held_out(samples: MeterSamples, events: Sequence[MeterEvent]) -> BoolArray | None:
    """Return which samples events leave out, None when they leave out none."""
    held: BoolArray | None = None
    for event in events:
        if event.kind is EventKind.HOLD_OUT:
            column = samples.export_kwh if event.counter == "export_kwh" else samples.import_kwh
            one = event.holds_out(samples.time_us, column)
            held = one if held is None else held | one
    return held if held is not None and held.any() else None


def _corrected(samples: MeterSamples, events: Sequence[MeterEvent], held_out: BoolArray | None) -> MeterSamples:
    """Return the samples with nothing where they are left out, and power as it was; counters stay as shown."""
    ratio = ratio_of(events)
    power_kw = samples.power_kw
    if power_kw is not None and ratio is not None:
        power_kw = power_kw * ratio.at(samples.time_us)
    if held_out is None:
        return MeterSamples(samples.time_us, samples.import_kwh, samples.export_kwh, power_kw)
    taken, given, power_kw = (
        None if each is None else np.where(held_out, np.nan, each)
        for each in (samples.import_kwh, samples.export_kwh, power_kw)
    )
    return MeterSamples(samples.time_us, taken, given, power_kw)


def _samples_with_any_value(samples: MeterSamples, edges_us: TimeArray) -> NDArray[np.int64]:
    columns = [c for c in (samples.import_kwh, samples.export_kwh, samples.power_kw) if c is not None]
    used = np.zeros(samples.time_us.size, dtype=np.bool_)
    for column in columns:
        used |= np.isfinite(column)
    times_us = samples.time_us if used.all() else samples.time_us[used]
    place = np.searchsorted(times_us, edges_us)
    return place[1:] - place[:-1]
