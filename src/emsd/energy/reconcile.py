"""A meter against itself: its counter and its power must tell the same energy.

Both come from the same measuring element through different registers, scales and byte orders. A lasting deviation is a
wrong current-transformer ratio, scale factor, word order or sign, which nothing else in a plant would show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from emsd.energy.counters import CounterRules
from emsd.energy.events import MeterEvent
from emsd.energy.intervals import spread
from emsd.energy.meters import MeterSamples, energy_of
from emsd.energy.power import PowerMethod, integrate_power
from emsd.energy.series import US_PER_S, Increments, TimeArray

__all__ = ["CounterPowerDeviation", "counter_power_deviation"]


class CounterPowerDeviation(NamedTuple):
    """Counter against integrated power over the time that both cover.

    relative      |counter - power| / |counter|; inf when the counter stands still while power flows, None when
                  neither moved or no time is covered
    counter_kwh   energy by counter [kWh], import minus export where both exist
    power_kwh     energy by power [kWh], only the counted direction when one counter exists
    covered       share 0..1 of the window that counter and power both cover without a gap
    """

    relative: float | None
    counter_kwh: float
    power_kwh: float
    covered: float


def counter_power_deviation(
    samples: MeterSamples,
    rules: CounterRules,
    from_us: int,
    to_us: int,
    *,
    power_method: PowerMethod = "trapezoid",
    events: Sequence[MeterEvent] = (),
) -> CounterPowerDeviation:
    """Compare a meter's counter with its power over [from_us, to_us).

    Movements up to one count of the counter are taken for none; choose the window so long that a count is a small
    share of its energy. `events` are those of the meter that count; a changed ratio changes both sides alike, so it is
    left aside. Raises ValueError when the meter lacks a counter or power, or the window is empty.
    """
    if to_us <= from_us:
        raise ValueError(f"the window from {from_us} to {to_us} is empty")
    if samples.power_kw is None or (samples.import_kwh is None and samples.export_kwh is None):
        raise ValueError("a meter needs a counter and power to be compared with itself")
    of_counters = [event for event in events if event.factor is None]
    power = integrate_power(samples.time_us, samples.power_kw, method=power_method, max_gap_s=rules.max_gap_s)
    counted = [
        (sign, counter, integrated)
        for sign, counter, integrated in zip((1, -1), energy_of(samples, rules, events=of_counters), power, strict=True)
        if counter is not None
    ]
    edges_us = _edges(from_us, to_us, *(series for _, *pair in counted for series in pair))
    width_s = (edges_us[1:] - edges_us[:-1]) / US_PER_S
    common = np.ones(width_s.size, dtype=np.bool_)
    sides = []
    for sign, counter, integrated in counted:
        by_counter, by_power = spread(counter, edges_us), spread(integrated, edges_us)
        # Between two successive edges a series either covers all or nothing; half is far from both.
        common &= (by_counter.covered_s > width_s / 2) & (by_power.covered_s > width_s / 2)
        sides.append((sign, by_counter.energy_kwh, by_power.energy_kwh))
    counter_kwh = float(sum(sign * energy[common].sum() for sign, energy, _ in sides))
    power_kwh = float(sum(sign * energy[common].sum() for sign, _, energy in sides))
    covered = float(width_s[common].sum() * US_PER_S / (to_us - from_us))
    return CounterPowerDeviation(
        _relative(counter_kwh, power_kwh, rules.count_kwh) if covered else None, counter_kwh, power_kwh, covered
    )


def _edges(from_us: int, to_us: int, *series: Increments) -> TimeArray:
    bounds = np.concatenate([bound for one in series for bound in (one.start_us, one.end_us)])
    inner = bounds[(bounds > from_us) & (bounds < to_us)]
    return np.unique(np.concatenate((inner, np.array([from_us, to_us], dtype=np.int64))))


def _relative(counter_kwh: float, power_kwh: float, count_kwh: float) -> float | None:
    if abs(counter_kwh) > count_kwh:
        return abs(counter_kwh - power_kwh) / abs(counter_kwh)
    return math.inf if abs(power_kwh) > 2 * count_kwh else None
