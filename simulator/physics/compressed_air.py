"""Compressors that share what the plant needs: fixed-speed machines that load and unload, and drives that follow.

The need follows production; leaks never stop, and grow with pressure. Machines that are not wanted stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simulator.noise import FloatArray, IntArray, Stream, smooth
from simulator.physics.day import Day
from simulator.physics.scenarios import ScenarioKind
from simulator.physics.staging import running_shares, starts_per_hour

__all__ = [
    "AIR_NM3_PER_KWH",
    "CYCLE_KNOTS",
    "SPECIFIC_POWER_KW_MIN_M3",
    "UNLOADED_SHARE",
    "Compressor",
    "CompressorCycle",
    "CompressorGroup",
    "compressor_cycle",
]

UNLOADED_SHARE = 0.28
"""Power of an unloaded screw compressor, of its loaded power."""

SPECIFIC_POWER_KW_MIN_M3 = 6.6
"""Loaded power for each m3/min of free air [kW/(m3/min)]; oil-injected packages take 6.0 to 7.8."""

_NORMAL_PER_FREE = 0.9317  # 273.15/293.15: free air at 20 C to normal conditions at 0 C
AIR_NM3_PER_KWH = 60.0 / SPECIFIC_POWER_KW_MIN_M3 * _NORMAL_PER_FREE
"""Air at normal conditions that a machine under full load makes of each kWh of its rated power."""

# Loading cycles of compressors, 4 to 7 minutes: primes, so that no two machines keep step, nor with the clock.
CYCLE_KNOTS = (23, 29, 31, 37, 41, 43)

_TOOLS_SHARE, _BASE_SHARE, _LEAK_SHARE = 0.50, 0.06, 0.14  # of the installed air
_REFERENCE_BAR = 7.15  # gauge, the middle of the pressure band
_POWER_PER_BAR = 0.0725  # 1 % for each 2 psi. Source: U.S. Department of Energy, Compressed Air Sourcebook, 3rd edition
_GOLDEN_RATIO = 0.6180339887498949  # its multiples spread evenly over 0..1 however many there are
_LEAST_SPEED = 0.25
_DRIVE_BASE = 0.06  # power of a drive at the lowest speed beyond the straight line through 0


class CompressorCycle(NamedTuple):
    """A compressor on knots: loaded (1) or not (0), and how full the receiver is (0 at the lower pressure)."""

    loaded: FloatArray
    receiver: FloatArray


@dataclass(frozen=True, slots=True)
class Compressor:
    """One machine; `variable_speed` ones follow the need, and come first in every week."""

    key: str
    rated_kw: float
    variable_speed: bool
    cycle_knots: int


def compressor_cycle(knot: IntArray, period: int, share: FloatArray) -> CompressorCycle:
    """Return load and receiver pressure of a fixed-speed compressor that loads once in every `period` knots.

    share  how much of its air is wanted, 0..1, at each knot; that at the first knot of a cycle decides on the cycle

    The mean of many cycles is what is wanted. While loaded the pressure rises to the upper set-point, while unloaded it
    falls back: both ends are the same for every cycle. A machine that is wanted all the time stays loaded, at the lower
    end of the band.
    """
    phase = np.mod(knot, period)
    first = np.maximum(np.arange(knot.size) - phase, 0)
    wish = share[first]
    length = _loaded_knots(np.clip(wish, 0.0, 1.0) * period, knot // period, period)
    always, never = length >= period, length <= 0
    inside = np.clip(length, 2, period - 2)
    loaded = np.where(always, 1.0, np.where(never, 0.0, (phase >= 1) & (phase <= inside)))
    cycle = np.where(phase <= inside, phase / inside, (period - phase) / (period - inside))
    return CompressorCycle(loaded, np.where(always, 0.0, np.where(never, 1.0, cycle)))


def _loaded_knots(wish: FloatArray, cycle: IntArray, period: int) -> FloatArray:
    """Return for how many knots of a cycle the machine is loaded: 0, 2 to period - 2, or all, in the mean the wish."""
    below, above = wish < 2, wish > period - 2
    base = np.where(above, period - 2.0, 0.0)
    step = np.where(below | above, 2.0, 1.0)
    knots: FloatArray = base + step * np.floor((wish - base) / step + np.mod(cycle * _GOLDEN_RATIO, 1.0))
    return knots


@dataclass(frozen=True, slots=True)
class CompressorGroup:
    """The compressors of a plant."""

    machines: tuple[Compressor, ...]
    source: Stream

    @classmethod
    def of(cls, machines: Sequence[Compressor], source: Stream) -> CompressorGroup:
        """Return the group, variable-speed machines first."""
        return cls(tuple(sorted(machines, key=lambda each: not each.variable_speed)), source)

    @property
    def row_names(self) -> tuple[str, ...]:
        """What `rows` returns: the air that is wanted, of the installed, then six rows for each machine."""
        what = ("running", "starts", "drive", "loaded", "receiver", "compressor power")
        return ("air demand", *(f"{each} {one.key}" for each in what for one in self.machines))

    def rows(self, day: Day, _: FloatArray) -> FloatArray:
        """Return all rows of the group, shares of each machine's rated power or air."""
        size = np.array([each.rated_kw for each in self.machines])
        demand = self._demand(day)
        wanted = demand * size.sum()
        driven = sum(each.variable_speed for each in self.machines)
        running = running_shares(day.knot, wanted, size, driven)
        air = self._shares(wanted, size, running, driven)
        drive, loaded, receiver, power = [], [], [], []
        dearer = 1.0 + _POWER_PER_BAR * day.site["air_setpoint_bar"]
        for machine, share, runs in zip(self.machines, air, running, strict=True):
            speed = self._drive(day, machine)
            load, full, draws = self._machine(day, machine, share, speed)
            worn = 1.0 + day.amount(ScenarioKind.COMPRESSOR_WEAR, machine.key)
            drive.append(speed)
            loaded.append(runs * load)
            receiver.append(full)
            power.append(runs * draws * dearer * worn)
        return np.vstack([demand, running, starts_per_hour(running), *drive, *loaded, *receiver, *power])

    def _demand(self, day: Day) -> FloatArray:
        """Return the air that is wanted, of the installed: tools, other users, and leaks by their absolute pressure."""
        pressure = (_REFERENCE_BAR + 1.0 + day.site["air_setpoint_bar"]) / (_REFERENCE_BAR + 1.0)
        leaks = (_LEAK_SHARE + day.amount(ScenarioKind.AIR_LEAK)) * (1.0 - day.amount(ScenarioKind.LEAK_REPAIR))
        users = _TOOLS_SHARE * day.activity / 0.94 + _BASE_SHARE + 0.03 * smooth(self.source, day.time_s, 1800.0)
        return np.clip(users + leaks * pressure, 0.02, 0.98)

    @staticmethod
    def _shares(wanted: FloatArray, size: FloatArray, running: FloatArray, driven: int) -> FloatArray:
        """Return the share of its air that each machine gives: drives keep to their range, the others fill up.

        Fixed machines are efficient when loaded, so they give what they can while drives keep to their lowest speed,
        and drives the rest. All fixed machines that run are equal and load as often as the others.
        """
        each = size[:, None] * running
        fixed_kw, driven_kw = each[driven:].sum(axis=0), each[:driven].sum(axis=0)
        if not driven:
            fixed = np.clip(wanted / np.maximum(fixed_kw, 1e-9), 0.0, 1.0)
            return np.broadcast_to(fixed, running.shape)
        by_fixed = np.clip(wanted - _LEAST_SPEED * driven_kw, 0.0, fixed_kw)
        fixed = by_fixed / np.maximum(fixed_kw, 1e-9)
        drives = np.clip((wanted - fixed * fixed_kw) / np.maximum(driven_kw, 1e-9), _LEAST_SPEED, 1.0)
        return np.vstack(
            [np.broadcast_to(drives, running[:driven].shape), np.broadcast_to(fixed, running[driven:].shape)]
        )

    @staticmethod
    def _drive(day: Day, machine: Compressor) -> FloatArray:
        """Return 1 where a machine has a variable-speed drive, from the start or by a retrofit, else 0."""
        if machine.variable_speed:
            return np.ones(day.knot.size)
        return np.zeros(day.knot.size) + day.amount(ScenarioKind.SPEED_CONTROL, machine.key)

    def _machine(
        self, day: Day, machine: Compressor, share: FloatArray, drive: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return load, receiver and power of a machine that runs; a drive holds the pressure within a narrow band."""
        cycle = compressor_cycle(day.knot, machine.cycle_knots, share)
        fixed = UNLOADED_SHARE + (1.0 - UNLOADED_SHARE) * cycle.loaded
        follows = np.clip(share, _LEAST_SPEED, 1.0)
        held = 0.5 + 0.1 * smooth(self.source + np.uint64(3), day.time_s, 240.0)
        return (
            _blend(cycle.loaded, follows, drive),
            _blend(cycle.receiver, held, drive),
            _blend(fixed, _drive_power(follows), drive),
        )


def _blend(without: FloatArray, with_drive: FloatArray, drive: FloatArray) -> FloatArray:
    return without + drive * (with_drive - without)


def _drive_power(share: FloatArray) -> FloatArray:
    return _DRIVE_BASE + (1.0 - _DRIVE_BASE) * share
