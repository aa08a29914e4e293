"""The readings around some quarter hours of an asset, and what each way of making an input makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np

from emsd.energy.counters import CONTEXT_SAMPLES, CounterRules
from emsd.energy.events import MeterEvent, events_of_other_counter, held_out_of_all, ratio_of
from emsd.energy.kpi import Method, Parts, Signal, count, integrate
from emsd.energy.kpi.chiller import cooling_power_kw
from emsd.energy.kpi.electrical import voltage_unbalance_percent
from emsd.energy.kpi.pv import corrected_irradiance_w_m2
from emsd.energy.kpi.signals import parts_of
from emsd.energy.series import BUCKET_15M_US, US_PER_S, FloatArray, TimeArray
from emsd.energy.spliced import spliced_increments
from emsd.plant.kpi import KpiSource, Part
from emsd.plant.loader import LoadedPlant
from emsd.plant.models import Meter
from emsd.quantities import RUN_STATE_CODES, RunState
from emsd.store import kpi_inputs as table
from emsd.store.meter_events import read_events
from emsd.store.pool import Session

__all__ = ["SampleSource", "Samples", "compute_input", "reach_s"]


def reach_s(meter: Meter) -> float:
    """Return how far [s] a reading counts before and after its time; migration 0017 marks as far as this."""
    return meter.max_gap_s + CONTEXT_SAMPLES * meter.poll_interval_s


class SampleSource(Protocol):
    """The samples around some quarter hours of an asset, wherever they come from."""

    @property
    def edges_us(self) -> TimeArray:
        """The k + 1 edges of the quarter hours [us]."""

    async def signal(self, part: Part, *, holds: bool = False) -> Signal:
        """Return a gauge."""

    async def counted(self, part: Part) -> Parts:
        """Return what a counter counted in the quarter hours."""

    async def means(self, parts: Sequence[Part]) -> tuple[FloatArray, FloatArray]:
        """Return the means of several gauges of one meter, float64[q, k], and the measured share of each quarter."""


class Samples:
    """The readings around some quarter hours, as signals and counters."""

    def __init__(
        self, connection: Session, loaded: LoadedPlant, meter_ids: Mapping[str, int], edges_us: TimeArray
    ) -> None:
        self._connection = connection
        self._loaded = loaded
        self._meter_ids = meter_ids
        self._events: dict[str, Sequence[MeterEvent]] = {}
        self.edges_us = edges_us

    async def signal(self, part: Part, *, holds: bool = False) -> Signal:
        """Return a gauge; one that is reported by exception holds its value anyway."""
        meter = self._loaded.meters_by_key[part.meter]
        profile = self._loaded.profile_of(meter)
        times, columns = await self._read(part)
        return Signal(times, columns, meter.max_gap_s, holds or profile.reports_by_exception)

    async def counted(self, part: Part) -> Parts:
        """Return what a counter counted in the quarter hours, through the events of its meter."""
        meter = self._loaded.meters_by_key[part.meter]
        profile = self._loaded.profile_of(meter)
        times, column = await self._read(part)
        by_current = part.quantity.endswith("_kvarh")
        events = events_of_other_counter(await self._events_of(part.meter), by_current=by_current)
        rules = CounterRules(
            max_gap_s=meter.max_gap_s,
            # Only reactive energy has a bound that is known: it cannot exceed the rating.
            max_power_kw=self._loaded.rated_power_kw(meter) if by_current else None,
            count_kwh=profile.counter_count(part.quantity) or 0.0,
            modulus_kwh=profile.counter_modulus(part.quantity),
        )
        if not events:
            return count(times, column, rules, self.edges_us)
        return parts_of(spliced_increments(times, column, rules, "import_kwh", events), self.edges_us)

    async def means(self, parts: Sequence[Part]) -> tuple[FloatArray, FloatArray]:
        """Return the means of several gauges of one meter, float64[q, k], and the measured share of each quarter."""
        meter = self._loaded.meters_by_key[parts[0].meter]
        values, samples = await table.read_mean_gauges(
            self._connection, self._meter_ids[meter.key], [part.quantity for part in parts], self.edges_us
        )
        return values, np.minimum(samples * meter.poll_interval_s * US_PER_S / BUCKET_15M_US, 1.0)

    async def _read(self, part: Part) -> tuple[TimeArray, FloatArray]:
        """Read as far beyond both ends as a stretch may reach, or a held counter needs samples to be judged."""
        meter = self._loaded.meters_by_key[part.meter]
        reach_us = int(reach_s(meter) * US_PER_S)
        first, last = int(self.edges_us[0]) - reach_us, int(self.edges_us[-1]) + reach_us
        times, columns = await table.read_gauges(
            self._connection, self._meter_ids[part.meter], [part.quantity], first, last
        )
        column = columns[part.quantity]
        events = await self._events_of(part.meter)
        kept = ~held_out_of_all(events, times)
        times, column = times[kept], column[kept]
        ratio = ratio_of(events) if part.quantity == _POWER else None
        return times, column if ratio is None else column * ratio.at(times)

    async def _events_of(self, key: str) -> Sequence[MeterEvent]:
        if key not in self._events:
            meter_id = self._meter_ids[key]
            self._events[key] = (await read_events(self._connection, [meter_id])).get(meter_id, ())
        return self._events[key]


async def compute_input(samples: SampleSource, source: KpiSource, facts: Mapping[str, float]) -> Parts:
    """Return one input in the quarter hours of `samples`."""
    edges_us, parts = samples.edges_us, source.parts
    match source.method:
        case Method.COUNTER | Method.COUNTERS:
            return _sum([await samples.counted(part) for part in parts])
        case Method.UNBALANCE:
            voltages, coverage = await samples.means(parts)
            value = voltage_unbalance_percent(voltages)
            return Parts(value, np.where(np.isfinite(value), coverage, 0.0))
        case Method.LOADED_STATES | Method.RUNNING_STATES:
            states = _LOADED if source.method is Method.LOADED_STATES else _RUNNING
            signals = [await samples.signal(parts[0], holds=True)]
            return integrate(signals, lambda state: np.isin(state, states).astype(np.float64), edges_us)
        case Method.LOADED_POWER | Method.RUNNING_POWER:
            limit = facts["loaded_above_kw" if source.method is Method.LOADED_POWER else "running_above_kw"]
            signals = [await samples.signal(parts[0], holds=True)]
            return integrate(signals, lambda power: (power > limit).astype(np.float64), edges_us)
        case _:
            signals = [await samples.signal(part) for part in parts]
            value, coverage = integrate(signals, _combination(source.method, facts), edges_us)
            return Parts(value * source.scale, coverage)


def _combination(method: Method, facts: Mapping[str, float]) -> Callable[..., FloatArray]:
    if method is Method.WATER:
        density, capacity = facts["water_density_kg_m3"], facts["water_heat_capacity_kj_kg_k"]
        return lambda flow, entering, leaving: cooling_power_kw(flow, entering, leaving, density, capacity)
    if method is Method.CORRECTED_SUN:
        coefficient = facts["temperature_coefficient_per_k"]
        return lambda irradiance, module_c: corrected_irradiance_w_m2(irradiance, module_c, coefficient)
    return lambda value: value


_POWER: Final = "active_power_kw"
_LOADED: Final = [RUN_STATE_CODES[RunState.LOADED]]
_RUNNING: Final = [RUN_STATE_CODES[each] for each in (RunState.RUNNING, RunState.LOADED, RunState.UNLOADED)]


def _sum(parts: Sequence[Parts]) -> Parts:
    """Return the sum of amounts; what one of them lacks is not covered."""
    value = np.sum([each.value for each in parts], axis=0)
    return Parts(value, np.where(np.isfinite(value), np.minimum.reduce([each.coverage for each in parts]), 0.0))
