"""A chilled-water plant: the heat of the factory and of its outdoor air, shared by as few chillers as carry it.

Everything comes from the plant's own loads: tools, fans and lamps give off heat, make-up air brings enthalpy. Outdoor
air is what a plant is sized for, so that the greatest load of a summer takes most of what is installed, with a reserve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simulator.noise import FloatArray, Stream, smooth
from simulator.physics.day import TOWER_APPROACH_K, Day
from simulator.physics.scenarios import ScenarioKind
from simulator.physics.staging import BLOCK_KNOTS, running_shares, starts_per_hour

__all__ = ["REFERENCE_COP", "ChillerGroup", "ChillerState", "chiller_cooling", "pump_share", "tower_share"]

REFERENCE_COP = 5.5

# Curves of the DOE-2 electric chiller model for a centrifugal machine of COP 5.50, x = leaving chilled water [C],
# y = entering condenser water [C]. Source: Modelica Buildings library, Fluid.Chillers.Data.ElectricEIR. EnergyPlus
# gives their range as x = 5 to 10, y = 24 to 35; beyond x = 10 they would make warm water dear.
_CAPACITY = (0.257896, 0.0389016, -0.00021708, 0.0468684, -0.00094284, -0.00034344)
_INPUT = (0.933884, -0.058212, 0.00450036, 0.00243, 0.000486, -0.001215)
_PART_LOAD = (0.222903, 0.313387, 0.463710)

_SUPPLY_KJ_KG = 30.5  # make-up air dried to a dew point of 10 C, at 500 m
_DESIGN_KJ_KG = 88.8  # outdoor air of a wet bulb of 27 C, at 500 m
_PEAK_SHARE = 0.80  # of the cooling that is no reserve, on the design day
_MACHINES_PER_RESERVE = 3  # of three machines one is in reserve or revision
_MOST_SENSIBLE = 0.85  # of the peak: the rest is outdoor air
_TYPICAL_LOAD = 0.85  # of rated power, of what gives off heat
_WATER_RISE_K = 5.0
_HEAT_EXCHANGER_K = 2.0
_LEAST_PART_LOAD = 0.15  # below it hot gas keeps the machine busy


class ChillerState(NamedTuple):
    """A chiller at work: heat taken from the water, and power drawn, each of the reference cooling capacity."""

    cooling_share: FloatArray
    power_share: FloatArray

    @property
    def cop(self) -> FloatArray:
        """Cooling for each unit of power."""
        return self.cooling_share / self.power_share


def _biquadratic(c: tuple[float, ...], x: FloatArray, y: FloatArray) -> FloatArray:
    return c[0] + c[1] * x + c[2] * x**2 + c[3] * y + c[4] * y**2 + c[5] * x * y


def chiller_cooling(leaving_c: FloatArray, condenser_c: FloatArray, part_load: FloatArray) -> ChillerState:
    """Return cooling and power of a chiller, both as a share of its reference cooling capacity.

    leaving_c     leaving chilled water [C]
    condenser_c   entering condenser water [C]
    part_load     cooling / cooling available at these temperatures, 0..1

    Source: DOE-2 electric chiller model, P = Qref CAPFT EIRFT EIRFPLR / COPref.
    """
    capacity = _biquadratic(_CAPACITY, leaving_c, condenser_c)
    ratio = _biquadratic(_INPUT, leaving_c, condenser_c)
    worked = np.maximum(part_load, _LEAST_PART_LOAD)
    part = _PART_LOAD[0] + _PART_LOAD[1] * worked + _PART_LOAD[2] * worked**2
    return ChillerState(part_load * capacity, capacity * ratio * part / REFERENCE_COP)


@dataclass(frozen=True, slots=True)
class ChillerGroup:
    """The chillers of a plant, and what gives them heat to take away."""

    keys: tuple[str, ...]
    rated_kw: FloatArray
    """Power at reference conditions."""
    peak_kw: float
    """Cooling on the design day."""
    heat: Mapping[int, float]
    """Rows of power that become heat in the chilled water, and by which factor."""
    heat_at_design_kw: float
    """What these rows typically give."""
    source: Stream

    @classmethod
    def of(
        cls, chillers: Sequence[tuple[str, float]], heat: Mapping[int, float], rated_heat_kw: float, source: Stream
    ) -> ChillerGroup:
        """Return the group of (key, rated power [kW]); heat is scaled down where the chillers are too few for it."""
        rated = np.array([kw for _, kw in chillers])
        peak_kw = _PEAK_SHARE * (1.0 - _reserve(rated.size)) * REFERENCE_COP * float(rated.sum())
        most = _MOST_SENSIBLE * peak_kw
        typical = _TYPICAL_LOAD * rated_heat_kw
        share = min(1.0, most / typical) if typical > 0 else 1.0
        scaled = {row: factor * share for row, factor in heat.items()}
        return cls(tuple(key for key, _ in chillers), rated, peak_kw, scaled, typical * share, source)

    @property
    def row_names(self) -> tuple[str, ...]:
        """What `rows` returns: load (of the design day), free cooling, heat to reject, then five for each chiller."""
        what = ("running", "starts", "part load", "cooling", "chiller power")
        each = [f"{one} {key}" for one in what for key in self.keys]
        return ("cooling load", "free cooling", "rejected heat", *each)

    def rows(self, day: Day, table: FloatArray) -> FloatArray:
        """Return all rows of the group: shares of the reference power, or of the reference cooling, of each chiller."""
        installed_kw = REFERENCE_COP * float(self.rated_kw.sum())
        demand_kw = self._demand_kw(day, table, installed_kw)
        free = self._free_share(day)
        leaving, condenser = day.site["chilled_water_c"], day.site["condenser_water_c"]
        available = _biquadratic(_CAPACITY, leaving, condenser)
        by_chillers = demand_kw * (1.0 - free)
        capacities = self.rated_kw[:, None] * REFERENCE_COP * available[:-1:BLOCK_KNOTS]
        running = running_shares(day.knot, by_chillers, capacities)
        carried = (self.rated_kw * REFERENCE_COP) @ running * available
        part_load = np.clip(by_chillers / np.where(carried > 0.0, carried, 1.0), 0.0, 1.0)
        state = chiller_cooling(leaving, condenser, part_load)
        still = np.zeros(day.knot.size)
        drift = 1.0 + np.stack([still + day.amount(ScenarioKind.COP_DRIFT, key) for key in self.keys])
        cooling = running * state.cooling_share
        power = running * state.power_share * REFERENCE_COP * drift
        taken_kw = REFERENCE_COP * (self.rated_kw @ cooling) + demand_kw * free
        rejected = (taken_kw + self.rated_kw @ power) / (self.peak_kw * (1.0 + 1.0 / REFERENCE_COP))
        starts = starts_per_hour(running)
        site = (demand_kw / self.peak_kw, free, rejected)
        return np.vstack([*site, running, starts, running * part_load, cooling, power])

    def _demand_kw(self, day: Day, table: FloatArray, installed_kw: float) -> FloatArray:
        sensible = sum((factor * table[row] for row, factor in self.heat.items()), np.zeros(day.knot.size))
        outdoor_kw = self.peak_kw - self.heat_at_design_kw
        excess = np.maximum(day.weather.enthalpy_kj_kg - _SUPPLY_KJ_KG, 0.0) / (_DESIGN_KJ_KG - _SUPPLY_KJ_KG)
        valve = day.amount(ScenarioKind.STUCK_VALVE) * installed_kw
        chance = 1.0 + 0.02 * smooth(self.source, day.time_s, 1500.0)
        demand: FloatArray = (sensible + outdoor_kw * excess + valve) * chance
        return np.maximum(demand, 0.01 * installed_kw)

    def _free_share(self, day: Day) -> FloatArray:
        """Return which share of the cooling a heat exchanger to the towers gives, where one is commissioned."""
        commissioned = day.amount(ScenarioKind.FREE_COOLING)
        tower = day.weather.wet_bulb_c + TOWER_APPROACH_K + _HEAT_EXCHANGER_K
        warm = day.site["chilled_water_c"] + _WATER_RISE_K
        return np.clip((warm - tower) / _WATER_RISE_K, 0.0, 1.0) * commissioned


def pump_share(load: FloatArray) -> FloatArray:
    """Return the power of pumps on drives, of their rated, at a share of the design day's cooling; they never stop."""
    flow = np.minimum(0.4 + 0.6 * load, 1.0)
    share: FloatArray = flow**2.5
    return share


def tower_share(rejected: FloatArray) -> FloatArray:
    """Return the power of tower fans on drives, of their rated, at a share of the design day's heat to reject."""
    share: FloatArray = 0.08 + 0.92 * np.clip(rejected, 0.0, 1.0) ** 2
    return share


def _reserve(machines: int) -> float:
    """Return which share of equal machines a plant keeps in reserve."""
    return machines // _MACHINES_PER_RESERVE / machines
