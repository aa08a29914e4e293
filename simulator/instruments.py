"""Meters as instruments: what each one looks at, and how it differs from others of its kind.

All arithmetic is elementwise over arrays that broadcast: many instants of one meter (history), or many meters at one
instant (a bank of a device server).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from emsd.plant.models import AssetKind
from simulator.noise import BoolArray, FloatArray, IntArray, Stream, smooth
from simulator.physics.day import SITE_ROWS
from simulator.tables import Tables

__all__ = ["Instrument", "Look", "asset_flags", "stack"]


@dataclass(frozen=True, slots=True)
class Instrument:
    """One meter, or a stack of meters with one profile: every field is an array of one element per meter.

    Terms are kept as a row and a factor; `initial` holds counters at the anchor, in their quantity's unit.
    """

    source: Stream
    active_row: IntArray
    active_factor: FloatArray
    reactive_row: IntArray
    reactive_factor: FloatArray
    apparent_row: IntArray
    apparent_factor: FloatArray
    load_row: IntArray
    load_factor: FloatArray
    heat_row: IntArray
    heat_factor: FloatArray
    receiver_row: IntArray
    running_row: IntArray
    """1 while the asset's machine runs."""
    starts_row: IntArray
    starts_factor: FloatArray
    drive_row: IntArray
    """1 where its motor has a variable-speed drive."""
    work_row: IntArray
    work_factor: FloatArray
    """What an asset's production goes by [kW]: of tools the power at which they have lots, else their power."""
    rated_kw: FloatArray
    nominal_v: FloatArray
    """Line to line."""
    share_l1: FloatArray
    share_l2: FloatArray
    level: FloatArray
    """Where this specimen lies in the spread of its kind, 0..1."""
    is_compressor: FloatArray
    is_generator: FloatArray
    is_outdoor: FloatArray
    is_cooling: FloatArray
    initial: Mapping[str, FloatArray]


def stack(instruments: Iterable[Instrument]) -> Instrument:
    """Return one instrument for several meters of the same profile."""
    each = tuple(instruments)

    def joined(name: str) -> FloatArray:
        return np.concatenate([getattr(one, name) for one in each])

    fields = {name: joined(name) for name in Instrument.__slots__ if name != "initial"}
    initial = {name: np.concatenate([one.initial[name] for one in each]) for name in each[0].initial}
    return Instrument(**fields, initial=initial)  # type: ignore[arg-type]  # every field but initial is an array


@dataclass(frozen=True, slots=True)
class Look:
    """Meters looked at, at some instants."""

    meter: Instrument
    tables: Tables
    site: Stream
    time_us: IntArray
    since_anchor_h: FloatArray

    def row(self, row: IntArray, factor: FloatArray) -> FloatArray:
        """Return rows times factors at the instants looked at."""
        return self.tables.values(row, self.time_us) * factor

    def integral(self, row: IntArray, factor: FloatArray) -> FloatArray:
        """Return the integral of the positive part of rows times factors, from the anchor to the instants [x h]."""
        return self.tables.integral(row, self.time_us).positive * factor

    def site_row(self, name: str) -> FloatArray:
        """Return one of SITE_ROWS by name."""
        return self.row(np.array([SITE_ROWS.index(name)]), np.ones(1))

    def site_row_since(self, name: str) -> FloatArray:
        """Return the integral of one of SITE_ROWS since the anchor [x h]."""
        return self.integral(np.array([SITE_ROWS.index(name)]), np.ones(1))

    @property
    def load(self) -> FloatArray:
        """How hard the asset works, 0..1."""
        return self.row(self.meter.load_row, self.meter.load_factor)

    @property
    def running(self) -> FloatArray:
        """1 while the asset's machine runs, 0 while it stands."""
        return self.row(self.meter.running_row, np.ones(1))

    @property
    def loaded(self) -> BoolArray:
        """Whether a compressor delivers air: one at mains frequency does all or nothing, a drive follows."""
        load = self.load
        on_drive = self.row(self.meter.drive_row, np.ones(1)) >= 0.5
        return (load >= 0.5) | (on_drive & (load > 0.0))

    @property
    def running_h(self) -> FloatArray:
        """For how long it has run since the anchor [h]."""
        return self.integral(self.meter.running_row, np.ones(1))

    @property
    def active_kw(self) -> FloatArray:
        """Active power [kW], load convention."""
        return self.row(self.meter.active_row, self.meter.active_factor)

    def own_noise(self, name: int, period_s: float) -> FloatArray:
        """Return noise in [-1, 1] of each meter's own; `name` tells its noises apart."""
        return smooth(self.meter.source + np.uint64(name), self.time_us / 1e6, period_s)

    def site_noise(self, name: int, period_s: float) -> FloatArray:
        """Return noise in [-1, 1] that all meters of the site share."""
        return smooth(self.site + np.uint64(name), self.time_us / 1e6, period_s)

    def initial(self, name: str) -> FloatArray:
        """Return where a counter stood at the anchor; 0 for one that the profile does not deliver."""
        return self.meter.initial.get(name, np.zeros(1))


def asset_flags(kind: AssetKind) -> tuple[float, float, float, float]:
    """Return (is_compressor, is_generator, is_outdoor, is_cooling) of an asset's meters, 1 or 0."""
    return (
        float(kind is AssetKind.COMPRESSOR),
        float(kind is AssetKind.PV_INVERTER),
        float(kind in {AssetKind.WEATHER_STATION, AssetKind.PV_INVERTER}),
        float(kind is AssetKind.CHILLER),
    )
