"""What a scenario really costs: the plant as it is, less a twin of the same chance in which it never happens.

Both are integrated exactly, so the difference is the scenario's and nobody else's: with the heat that chillers must
carry for lamps, and with what another scenario makes of it at the same time. Costs of several scenarios need not add
up, since a leak costs less once the compressors have drives.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import numpy as np

from emsd.readings import instant_us
from simulator.noise import FloatArray
from simulator.physics.day import KNOT_S
from simulator.physics.scenarios import Scenario
from simulator.physics.staging import BLOCK_KNOTS
from simulator.scopes import meters_of_areas, meters_of_site
from simulator.tables import US_PER_DAY
from simulator.truth import SimulatedPlant

__all__ = ["ScenarioCost", "ScenarioTruth", "reach_us"]

_BLOCK_US = BLOCK_KNOTS * KNOT_S * 1_000_000
_SETTLED_US = 2 * _BLOCK_US  # the block in which it ends, then start and stop of machines and one loading cycle
_NUMBERS_KEPT = 2_000_000  # 16 MB


@dataclass(frozen=True, slots=True)
class ScenarioCost:
    """What a scenario cost in a window [kWh], import less export; what it saved is negative.

    meters    by key, every energy meter
    areas     by key: the uppermost energy meters in it and the areas below it
    site_kwh  energy meters without another above them
    """

    meters: dict[str, float]
    areas: dict[str, float]
    site_kwh: float


class ScenarioTruth:
    """The true energy cost of a plant's scenarios; threads may ask it, one after the other.

    Two days' tables and the sums of whole days are kept; a day costs as much as any day of the plant, twice.
    """

    def __init__(self, physics: SimulatedPlant) -> None:
        """Prepare to compare a plant, which nobody else asks meanwhile, with its twins."""
        self._physics = physics
        self._scenarios = {each.key: each for each in physics.scenarios.all}
        self._keys = tuple(physics.topology.nodes)
        self._areas, self._site = meters_of_areas(physics), meters_of_site(physics)
        self._twin: tuple[str, SimulatedPlant] | None = None
        self._asking = Lock()
        self._days: OrderedDict[tuple[str | None, int], FloatArray] = OrderedDict()
        self._days_kept = max(_NUMBERS_KEPT // max(len(self._keys), 1), 1)

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """The scenarios of the plant."""
        return tuple(self._scenarios.values())

    def cost(self, key: str, from_us: int, to_us: int) -> ScenarioCost:
        """Return what a scenario cost from one instant to another.

        Raises:
            KeyError: there is no such scenario.
            ValueError: to_us is before from_us.
        """
        scenario = self._scenarios[key]
        if to_us < from_us:
            raise ValueError(f"the window ends ({to_us}) before it begins ({from_us})")
        first_us, last_us = reach_us(scenario)
        begin = max(from_us, first_us)
        end = to_us if last_us is None else min(to_us, last_us)
        if begin < end:
            with self._asking:
                return self._cost(key, begin, end)
        return self._summed(np.zeros(len(self._keys)))

    def _cost(self, key: str, begin: int, end: int) -> ScenarioCost:
        return self._summed(self._net_kwh(None, begin, end) - self._net_kwh(key, begin, end))

    def _summed(self, difference: FloatArray) -> ScenarioCost:
        meters = dict(zip(self._keys, difference.tolist(), strict=True))
        areas = {area: sum((meters[each] for each in own), 0.0) for area, own in self._areas.items()}
        return ScenarioCost(meters, areas, sum((meters[each] for each in self._site), 0.0))

    def _net_kwh(self, without: str | None, from_us: int, to_us: int) -> FloatArray:
        """Return import less export of every energy meter in a window, of the plant or of a twin."""
        first, last = -(-from_us // US_PER_DAY), to_us // US_PER_DAY
        if first > last:
            return self._part(without, from_us, to_us)
        total = self._part(without, from_us, first * US_PER_DAY) + self._part(without, last * US_PER_DAY, to_us)
        for number in range(first, last):
            total = total + self._day(without, number)
        return total

    def _day(self, without: str | None, number: int) -> FloatArray:
        known = self._days.get((without, number))
        if known is None:
            known = self._part(without, number * US_PER_DAY, (number + 1) * US_PER_DAY)
            self._days[without, number] = known
            if len(self._days) > self._days_kept:
                self._days.popitem(last=False)
        return known

    def _part(self, without: str | None, from_us: int, to_us: int) -> FloatArray:
        if from_us == to_us:
            return np.zeros(len(self._keys))
        plant = self._physics if without is None else self._without(without)
        net: FloatArray = plant.net_kwh(self._keys, np.array([from_us, to_us], dtype=np.int64))[:, 0]
        return net

    def _without(self, key: str) -> SimulatedPlant:
        """Return the twin of a scenario; only the last is kept, since the tables of a large plant are some 100 MB."""
        if self._twin is None or self._twin[0] != key:
            self._twin = (key, self._physics.without(key))
        return self._twin[1]


def reach_us(scenario: Scenario) -> tuple[int, int | None]:
    """Return the first instant at which a scenario can change anything, and the last, None while it never ends [us].

    Sequencers decide at the beginning of each half hour by what it will need: they may start a machine up to half an
    hour before the scenario, and stop it as long after.
    """
    first = instant_us(scenario.start) // _BLOCK_US * _BLOCK_US - KNOT_S * 1_000_000
    if scenario.end is None:
        return first, None
    return first, -(-instant_us(scenario.end) // _BLOCK_US) * _BLOCK_US + _SETTLED_US
