"""SimulatedPlant: what every meter of a plant measures at any time, and what it should have measured.

A plant description, its profiles and a seed say everything: two of them with the same three agree on every number, in
whatever order they are asked. Time is passed in; nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from emsd.errors import ConfigurationError
from emsd.plant.models import AssetKind, Meter, Plant
from emsd.plant.profile import ENERGY_COUNTERS, Profile
from emsd.quantities import BY_NAME, Kind
from emsd.readings import instant_us
from simulator.buses import build_topology
from simulator.device_settings import Exponents, choose_exponents
from simulator.initial import initial_counters
from simulator.instruments import Instrument, asset_flags, stack
from simulator.noise import FloatArray, IntArray, stream, uniform_of
from simulator.physics.day import day_of
from simulator.physics.scenarios import KINDS, Scenario, Scenarios
from simulator.physics.weather import DEFAULT_LATITUDE, DEFAULT_LONGITUDE, Sky
from simulator.points import point_of
from simulator.readouts import look
from simulator.sunspec_profile import with_points
from simulator.tables import US_PER_DAY, Tables
from simulator.topology import Term, Topology

__all__ = ["Bench", "Disturbance", "EnergyTruth", "SimulatedPlant", "month_start"]

_MEDIUM_VOLTAGE_V = 20_000.0
_LOW_VOLTAGE_V = 400.0
_MEDIUM_VOLTAGE_FROM_KW = 2500.0
_UNSPECIFIED_COUNT = 0.001  # resolution of a JSON counter whose profile does not say it


class EnergyTruth(NamedTuple):
    """Energy that really flowed through a meter, both >= 0 [kWh]."""

    import_kwh: float
    export_kwh: float


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A gauge that shows something else for a while: a door left open, a sensor that drifts.

    Power and counters cannot be disturbed: the plant would no longer balance.
    """

    meter_key: str
    quantity: str
    start_us: int
    duration_s: float
    value: float

    def applies(self, time_us: IntArray) -> np.typing.NDArray[np.bool_]:
        """Return at which times it is in force."""
        return (time_us >= self.start_us) & (time_us < self.start_us + round(self.duration_s * 1e6))


@dataclass(frozen=True, slots=True)
class Bench:
    """Meters of one profile that are looked at together."""

    keys: tuple[str, ...]
    instrument: Instrument
    disturbances: tuple[tuple[int, Disturbance], ...]
    """(position in keys, disturbance)"""


class SimulatedPlant:
    """The physics behind a plant's meters, and their exact truth."""

    def __init__(
        self,
        plant: Plant,
        profiles: Mapping[str, Profile],
        seed: int = 1,
        *,
        anchor: datetime,
        disturbances: Sequence[Disturbance] = (),
        scenarios: Sequence[Scenario] = (),
    ) -> None:
        """Prepare a plant.

        anchor  Counters stand at their initial value at the UTC midnight before this aware datetime.

        Raises:
            ConfigurationError: a profile is unknown, meters are each other's parents, a disturbance concerns a meter or
                quantity that cannot be disturbed, or a scenario an asset that cannot have it.
        """
        self.plant = plant
        used = {meter.profile for meter in plant.meters}
        self.profiles = {name: with_points(each) if name in used else each for name, each in profiles.items()}
        self.seed = seed
        self.anchor_us = instant_us(anchor) // US_PER_DAY * US_PER_DAY
        self.meters: Mapping[str, Meter] = {meter.key: meter for meter in plant.meters}
        self.scenarios = Scenarios.of(scenarios)
        self.topology: Topology = build_topology(plant, profiles, seed, self.scenarios)
        self.disturbances = tuple(disturbances)
        self._check_disturbances()
        self._check_scenarios()
        self.tables = self._tables_with(self.scenarios)
        self._assets = {asset.key: asset for asset in plant.assets}
        self._grid = stream(seed, "site", "grid")
        self._benches: dict[str, Bench] = {}

    def apart(self) -> SimulatedPlant:
        """Return the same plant with tables of its own, so that another thread may ask it."""
        twin = copy(self)
        twin.tables = self._tables_with(self.scenarios)
        return twin

    def without(self, scenario_key: str) -> SimulatedPlant:
        """Return this plant with the same chance and weather, in which one of its scenarios never happens.

        Raises KeyError when there is no such scenario.
        """
        # The topology is shared: of a large plant, loads that a scenario concerns must keep the shape of their own.
        twin = copy(self)
        twin.scenarios = self.scenarios.without(scenario_key)
        twin.tables = self._tables_with(twin.scenarios)
        return twin

    def _tables_with(self, scenarios: Scenarios) -> Tables:
        site = self.plant.site
        latitude = DEFAULT_LATITUDE if site.latitude is None else site.latitude
        longitude = DEFAULT_LONGITUDE if site.longitude is None else site.longitude
        sky, activity = Sky(self.seed, latitude, longitude), stream(self.seed, "site", "activity")
        return Tables(
            self.topology.rules,
            len(self.topology.rows),
            lambda number: day_of(number, sky, site.zone, activity, scenarios),
            self.anchor_us // US_PER_DAY,
        )

    def profile_of(self, meter_key: str) -> Profile:
        """Return the profile of a meter; raises KeyError when there is no such meter."""
        return self.profiles[self.meters[meter_key].profile]

    def prepare(self, time_us: int) -> None:
        """Compute the days from the anchor to an instant now (about 50 ms each), so that later questions are quick."""
        self.tables.integral(np.zeros(1, dtype=np.int64), np.array([time_us], dtype=np.int64))

    def power_kw(self, meter_key: str, time_us: int) -> float:
        """Return the true active power through an energy meter [kW]; raises KeyError for any other meter."""
        return float(self.power_series_kw(meter_key, np.array([time_us], dtype=np.int64))[0])

    def power_series_kw(self, meter_key: str, time_us: IntArray) -> FloatArray:
        """Return the true active power through an energy meter at many times [kW]."""
        return self._term(self.topology.nodes[meter_key].active, time_us)

    def unmetered_kw(self, meter_key: str, time_us: int) -> float:
        """Return what flows through a meter beyond the sum of the meters below it [kW]."""
        return float(self.unmetered_series_kw(meter_key, np.array([time_us], dtype=np.int64))[0])

    def unmetered_series_kw(self, meter_key: str, time_us: IntArray) -> FloatArray:
        """Return what flows through a meter beyond the sum of the meters below it, at many times [kW]."""
        rest = self.topology.unmetered.get(meter_key)
        return np.zeros(time_us.size) if rest is None else self._term(rest, time_us)

    def true_energy_kwh(self, meter_key: str, from_us: int, to_us: int) -> EnergyTruth:
        """Return the energy that really flowed through a meter from one instant to another.

        Raises:
            KeyError: there is no such energy meter.
            ValueError: to_us is before from_us.
        """
        if to_us < from_us:
            raise ValueError(f"the window ends ({to_us}) before it begins ({from_us})")
        term = self.topology.nodes[meter_key].active
        total = self.tables.integral(np.array([term.row]), np.array([from_us, to_us], dtype=np.int64))
        positive, negative = total.positive * term.factor, total.negative * term.factor
        return EnergyTruth(float(positive[1] - positive[0]), float(negative[1] - negative[0]))

    def net_kwh(self, meter_keys: Sequence[str], edges_us: IntArray) -> FloatArray:
        """Return import less export of energy meters from each instant to the next [kWh], [meters, instants - 1].

        Only the days between the first and the last instant are computed, however far from the anchor they are.

        Raises:
            KeyError: there is no such energy meter.
            ValueError: the instants do not rise.
        """
        if np.any(np.diff(edges_us) < 0):
            raise ValueError("the instants between which energy is asked for must rise")
        terms = [self.topology.nodes[key].active for key in meter_keys]
        total = self.tables.between(np.array([term.row for term in terms], dtype=np.int64), edges_us)
        net: FloatArray = (total.positive - total.negative) * np.array([[term.factor] for term in terms])
        return net

    def quantities(self, meter_key: str, time_us: int) -> dict[str, float]:
        """Return every quantity that a meter's profile delivers, as physics has it, before any rounding."""
        series = self.quantity_series(meter_key, np.array([time_us], dtype=np.int64))
        return {name: float(values[0]) for name, values in series.items()}

    def quantity_series(
        self, meter_key: str, time_us: IntArray, names: Sequence[str] | None = None
    ) -> dict[str, FloatArray]:
        """Return quantities of one meter at many times; those of its profile when `names` is None."""
        bench = self._benches.get(meter_key)
        if bench is None:
            bench = self._benches[meter_key] = self.bench([meter_key])
        return self.look(bench, time_us, self.profile_of(meter_key).quantities if names is None else names)

    def bench(self, meter_keys: Sequence[str]) -> Bench:
        """Put meters of one profile side by side, to look at them together."""
        where = {key: position for position, key in enumerate(meter_keys)}
        hit = tuple((where[d.meter_key], d) for d in self.disturbances if d.meter_key in where)
        return Bench(tuple(meter_keys), stack(self._instrument(self.meters[key]) for key in meter_keys), hit)

    def look(self, bench: Bench, time_us: IntArray, names: Sequence[str]) -> dict[str, FloatArray]:
        """Return quantities of a bench; of m meters and n times one must be 1."""
        values = look(bench.instrument, self.tables, self._grid, time_us, self.anchor_us, names)
        for position, disturbance in bench.disturbances:
            if disturbance.quantity in values:
                held = disturbance.applies(time_us)
                if len(bench.keys) > 1:
                    held = held & (np.arange(len(bench.keys)) == position)
                changed = np.where(held, disturbance.value, values[disturbance.quantity])
                values[disturbance.quantity] = changed
        return values

    def counter_count_kwh(self, meter_key: str, at_us: int | None = None) -> float:
        """Return the resolution of a meter's energy counter [kWh], 0 when it has none.

        With `at_us` the step of a floating-point counter at the value that it has then is taken into account.
        """
        steps = [
            self._step(meter_key, name, at_us)
            for name in self.profile_of(meter_key).quantities
            if name in ENERGY_COUNTERS
        ]
        return max(steps, default=0.0)

    def exponents_of(self, meter_key: str) -> Exponents:
        """Return what a meter writes into its scale registers."""
        layout = self.profile_of(meter_key).modbus
        if layout is None:
            return {}
        rated = self._rated_kw(self.meters[meter_key])
        return choose_exponents(layout, rated, self._nominal_v(self.meters[meter_key]))

    def _step(self, meter_key: str, name: str, at_us: int | None) -> float:
        profile = self.profile_of(meter_key)
        layout = profile.modbus
        if layout is None:
            return profile.counter_count(name) or _UNSPECIFIED_COUNT
        source = next(point for point in layout.points if point.quantity == name)
        point = point_of(source, layout, self.exponents_of(meter_key), 0)
        return point.step_at(0.0 if at_us is None else self.quantities(meter_key, at_us)[name])

    def _term(self, term: Term, time_us: IntArray) -> FloatArray:
        return self.tables.values(np.array([term.row]), time_us) * term.factor

    def _instrument(self, meter: Meter) -> Instrument:
        view = self.topology.assets[meter.asset]
        node = self.topology.nodes.get(meter.key)
        terms = {
            "active": node.active if node else view.active,
            "reactive": node.reactive if node else view.active,
            "apparent": node.apparent if node else view.active,
            "load": view.load,
            "heat": view.heat,
            "work": view.work,
            "starts": view.starts,
        }
        fields = {f"{name}_row": np.array([term.row]) for name, term in terms.items()}
        factors = {f"{name}_factor": np.array([term.factor]) for name, term in terms.items()}
        compressor, generator, outdoor, cooling = asset_flags(view.kind)
        generates = node is not None and node.generator
        initial = initial_counters(
            self.profile_of(meter.key), self.seed, meter.key, self._rated_kw(meter), generator=generates
        )
        share = [1 / 3 + 0.03 * (uniform_of(self.seed, "phase", line, meter.key) - 0.5) for line in ("l1", "l2")]
        return Instrument(
            source=stream(self.seed, "meter", meter.key),
            **fields,
            **factors,
            receiver_row=np.array([view.receiver.row]),
            running_row=np.array([view.running.row]),
            drive_row=np.array([view.drive.row]),
            rated_kw=np.array([view.rated_kw]),
            nominal_v=np.array([self._nominal_v(meter)]),
            share_l1=np.array(share[:1]),
            share_l2=np.array(share[1:]),
            level=np.array([uniform_of(self.seed, "specimen", meter.key)]),
            is_compressor=np.array([compressor]),
            is_generator=np.array([generator]),
            is_outdoor=np.array([outdoor]),
            is_cooling=np.array([cooling]),
            initial={name: np.array([value]) for name, value in initial.items()},
        )

    def _rated_kw(self, meter: Meter) -> float:
        return meter.rated_power_kw or self.topology.assets[meter.asset].rated_kw

    def _nominal_v(self, meter: Meter) -> float:
        """Large incomers and feeders are metered at medium voltage, everything else at 400 V."""
        bus = self._assets[meter.asset].kind in {AssetKind.INCOMER, AssetKind.FEEDER}
        high = bus and self._rated_kw(meter) >= _MEDIUM_VOLTAGE_FROM_KW
        return _MEDIUM_VOLTAGE_V if high else _LOW_VOLTAGE_V

    def _check_disturbances(self) -> None:
        for each in self.disturbances:
            meter = self.meters.get(each.meter_key)
            if meter is None:
                raise ConfigurationError(f"disturbance of meter {each.meter_key}: the plant has no such meter")
            if each.quantity not in self.profile_of(meter.key).quantities:
                raise ConfigurationError(
                    f"disturbance of meter {meter.key}: its profile {meter.profile} has no {each.quantity}"
                )
            energy = BY_NAME[each.quantity].unit in {"kW", "kvar", "kVA"} and meter.key in self.topology.nodes
            if BY_NAME[each.quantity].kind is Kind.COUNTER or energy:
                raise ConfigurationError(
                    f"disturbance of meter {meter.key}: {each.quantity} belongs to the energy balance; "
                    "disturb another gauge"
                )

    def _check_scenarios(self) -> None:
        """Refuse scenarios that would change nothing, or that cannot be told apart."""
        kinds = {asset.key: asset.kind for asset in self.plant.assets}
        keys: set[str] = set()
        for each in self.scenarios.all:
            if each.key in keys:
                raise ConfigurationError(f"two scenarios are called {each.key}; give each a key of its own")
            keys.add(each.key)
            if each.asset is None:
                continue
            if each.asset not in kinds:
                raise ConfigurationError(f"scenario {each.key}: the plant has no asset {each.asset}")
            if kinds[each.asset] not in KINDS[each.kind].asset_kinds:
                able = ", ".join(KINDS[each.kind].asset_kinds)
                raise ConfigurationError(
                    f"scenario {each.key}: {each.kind} concerns assets of kind {able}, but {each.asset} is a "
                    f"{kinds[each.asset]}"
                )


def month_start(now: datetime) -> datetime:
    """Return the first instant, UTC, of the month of an aware datetime."""
    return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
