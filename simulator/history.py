"""What the meters would have said before the simulator ran: readings for a database that is to look lived-in.

Values go through the same rounding as on the wire, so a reading from here and one from the device server at the same
instant are equal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from emsd.quantities import BY_NAME, Kind
from emsd.readings import Quality, Reading, columns
from simulator.mqtt_devices import readable
from simulator.noise import FloatArray, IntArray
from simulator.points import RegisterPoint, point_of
from simulator.truth import SimulatedPlant

__all__ = ["history", "readable_series"]

_READINGS_PER_BATCH = 20_000


def readable_series(
    physics: SimulatedPlant, meter_key: str, time_us: IntArray, wanted: Collection[str] | None = None
) -> dict[str, FloatArray]:
    """Return what a reader of a meter gets at many times, in the order of its profile; NaN where it has no value.

    wanted  quantities that are asked for, of which the meter may have some; None: all
    """
    profile = physics.profile_of(meter_key)
    chosen = [name for name in profile.quantities if wanted is None or name in wanted]
    names = dict.fromkeys((*chosen, "reactive_power_kvar"))  # some registers show its sign beside a value of their own
    physical = physics.quantity_series(meter_key, time_us, tuple(names))
    if profile.modbus is None:
        published = [value for value in profile.published if value.quantity in physical]
        return {value.quantity: readable(profile, value, physical[value.quantity]) for value in published}
    points = _points(physics, meter_key, chosen)
    return {point.quantity: point.read_back(point.raw(physical)) for point in points}


def history(
    physics: SimulatedPlant, meter_ids: Mapping[str, int], from_us: int, to_us: int, step_s: float
) -> Iterator[list[Reading]]:
    """Yield the readings of meters at every `step_s` from `from_us` (included) to `to_us` (excluded).

    meter_ids  meter key -> number in the database; meters that are not in it are left out
    batches    about 20,000 readings, ordered by meter within a batch, and by time from batch to batch

    Raises:
        ValueError: a counter would be below zero: the window begins too long before the plant's anchor.
        KeyError: a key is not a meter of the plant.
    """
    step_us = round(step_s * 1e6)
    if step_us <= 0:
        raise ValueError(f"step_s {step_s} must be greater than 0")
    per_batch = max(_READINGS_PER_BATCH // max(len(meter_ids), 1), 1)
    for start in range(from_us, to_us, per_batch * step_us):
        times = np.arange(start, min(start + per_batch * step_us, to_us), step_us, dtype=np.int64)
        batch: list[Reading] = []
        for key, meter_id in meter_ids.items():
            batch.extend(_readings(physics, key, meter_id, times))
        yield batch


def _readings(physics: SimulatedPlant, key: str, meter_id: int, times: IntArray) -> Iterator[Reading]:
    series = readable_series(physics, key, times)
    names = columns(*series)
    _refuse_negative_counters(key, series)
    missing = np.zeros(times.size, dtype=np.bool_)
    listed: list[list[float | None]] = []
    for values in series.values():
        empty = np.isnan(values)
        one: list[float | None] = values.tolist()
        if empty.any():
            missing |= empty
            one = [None if gone else value for gone, value in zip(empty, one, strict=True)]
        listed.append(one)
    good = int(Quality.SIMULATED_HISTORY)
    partial = int(Quality.SIMULATED_HISTORY | Quality.NOT_AVAILABLE)
    flags = np.where(missing, partial, good).tolist()
    for time_us, values_now, flag in zip(times.tolist(), zip(*listed, strict=True), flags, strict=True):
        yield Reading(time_us, meter_id, names, values_now, flag)


def _refuse_negative_counters(key: str, series: Mapping[str, FloatArray]) -> None:
    for name, values in series.items():
        if BY_NAME[name].kind is Kind.COUNTER and np.nanmin(values) < 0:
            raise ValueError(
                f"{name} of meter {key} would be below zero when this history begins; give the plant an earlier anchor"
            )


def _points(physics: SimulatedPlant, meter_key: str, chosen: Collection[str]) -> list[RegisterPoint]:
    layout = physics.profile_of(meter_key).modbus
    if layout is None:
        return []
    exponents = physics.exponents_of(meter_key)
    return [point_of(point, layout, exponents, 0) for point in layout.points if point.quantity in chosen]
