"""From the plant's description to rows of power: which load each meter sees, and how meters add up at every bus.

A row is a function of time on the knots of a day; a term is a row times a positive factor. A meter without meters
below it shows a load of its own; any other shows exactly the sum of those below, plus, at an incomer, a small load
that nobody meters. Reactive power adds up the same way, so power factors are those of a real bus.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from emsd.errors import ConfigurationError
from emsd.plant.models import Asset, AssetKind, Meter, Plant
from emsd.plant.profile import Profile
from simulator.loads import behaviour_name, share_of
from simulator.machines import (
    REFERENCE_COP,
    UNLOADED_SHARE,
    chiller_power_share,
    compressor_cycle,
    cooling_share,
)
from simulator.noise import smooth, stream, uniform_of
from simulator.rules import WEATHER_ROWS, Rule, part_load, pv_share, sum_rule, weather_rule

__all__ = ["AssetView", "Node", "Term", "Topology", "build_topology"]

UNMETERED_SHARE = 0.03
"""Load at an incomer that no meter sees, of the rated power below it."""

_RATED_KW = {
    AssetKind.INCOMER: 2000.0,
    AssetKind.CLEANROOM: 200.0,
    AssetKind.COMPRESSOR: 160.0,
    AssetKind.CHILLER: 300.0,
    AssetKind.PV_INVERTER: 100.0,
    AssetKind.PROCESS_TOOL: 150.0,
    AssetKind.PUMP: 45.0,
    AssetKind.LIGHTING: 20.0,
    AssetKind.FEEDER: 250.0,
}

# From this many loads on, those of one behaviour share a few shapes: a table of 5,000 rows would be 350 MB a day.
_OWN_SHAPE_LOADS = 256
_SHARED_SHAPES = 16

# Loading cycles of compressors, 4 to 7 minutes: primes, so that no two machines keep step, nor with the clock.
_CYCLE_KNOTS = (23, 29, 31, 37, 41, 43)


class Term(NamedTuple):
    """A row times a factor > 0."""

    row: int
    factor: float


@dataclass(frozen=True, slots=True)
class Node:
    """What one energy meter sees: active [kW], reactive [kvar] and apparent power [kVA]."""

    active: Term
    reactive: Term
    apparent: Term
    generator: bool


@dataclass(frozen=True, slots=True)
class AssetView:
    """What controllers and sensors of an asset see of it: load 0..1, heat or cold it gives [kW], air receiver 0..1."""

    kind: AssetKind
    rated_kw: float
    load: Term
    heat: Term
    receiver: Term
    active: Term


@dataclass(frozen=True, slots=True)
class Topology:
    """All rows of a plant, in an order in which each needs only those before it."""

    rules: tuple[Rule, ...]
    nodes: Mapping[str, Node]
    assets: Mapping[str, AssetView]
    children: Mapping[str, tuple[str, ...]]
    unmetered: Mapping[str, Term]
    """By meter: what flows through it beyond the sum of its children."""


def build_topology(plant: Plant, profiles: Mapping[str, Profile], seed: int) -> Topology:
    """Return the rows and the buses of a plant.

    Raises:
        ConfigurationError: meters are each other's parents, or a profile is unknown.
    """
    return _Builder(plant, profiles, seed).build()


@dataclass(slots=True)
class _Builder:
    plant: Plant
    profiles: Mapping[str, Profile]
    seed: int
    rules: list[Rule] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    views: dict[str, AssetView] = field(default_factory=dict)
    unmetered: dict[str, Term] = field(default_factory=dict)
    below_kw: dict[str, float] = field(default_factory=dict)

    def build(self) -> Topology:
        for name in WEATHER_ROWS:
            self._row(name, weather_rule(name))
        assets = {asset.key: asset for asset in self.plant.assets}
        energy = self._energy_meters()
        children: dict[str, list[str]] = defaultdict(list)
        for meter in energy.values():
            if meter.parent in energy:
                children[meter.parent].append(meter.key)
        leaves: dict[str, list[Meter]] = defaultdict(list)
        for meter in energy.values():
            if not children[meter.key]:
                leaves[meter.asset].append(meter)
        crowded = sum(map(len, leaves.values())) > _OWN_SHAPE_LOADS
        for asset in assets.values():
            self._asset(asset, leaves[asset.key], crowded=crowded)
        for key in energy:
            self._bus(key, energy, assets, children, ())
        for asset in assets.values():
            self._view_of_bus(asset, [meter for meter in energy.values() if meter.asset == asset.key])
        self._mirrors(energy)
        tree = {key: tuple(below) for key, below in children.items() if below}
        return Topology(tuple(self.rules), self.nodes, self.views, tree, self.unmetered)

    def _energy_meters(self) -> dict[str, Meter]:
        """Meters on a bus: those that measure energy, unless they only report what a feeder meter measures."""
        measuring = [meter for meter in self.plant.meters if self._profile(meter).measures_energy]
        metered = {m.asset for m in measuring if self._is_feeder_meter(m)}
        return {
            meter.key: meter
            for meter in measuring
            if self._is_feeder_meter(meter) or meter.parent is not None or meter.asset not in metered
        }

    def _profile(self, meter: Meter) -> Profile:
        try:
            return self.profiles[meter.profile]
        except KeyError:
            raise ConfigurationError(
                f"meter {meter.key} has profile {meter.profile}, which is unknown; `emsd profiles` lists those that are"
            ) from None

    def _is_feeder_meter(self, meter: Meter) -> bool:
        return self._profile(meter).kind in {"power_meter", "pv_inverter", "generic"}

    def _row(self, name: str, rule: Rule) -> int:
        if name not in self.rows:
            self.rows[name] = len(self.rules)
            self.rules.append(rule)
        return self.rows[name]

    def _asset(self, asset: Asset, leaves: Sequence[Meter], *, crowded: bool) -> None:
        """Add the loads of an asset: one machine that its meters share, or a load for each meter."""
        rated = asset.rated_power_kw or _RATED_KW.get(asset.kind, 50.0)
        if asset.kind in {AssetKind.COMPRESSOR, AssetKind.CHILLER, AssetKind.PV_INVERTER}:
            shape, load, receiver = self._machine(asset)
            heat = self._cooling(asset, load, rated) if asset.kind is AssetKind.CHILLER else Term(load.row, rated)
            for meter in leaves:
                self._leaf(meter.key, Term(shape, rated / len(leaves)), asset.kind)
            self.views[asset.key] = AssetView(asset.kind, rated, load, heat, receiver, Term(shape, rated))
            return
        for meter in leaves:
            own = meter.rated_power_kw or rated / len(leaves)
            self._leaf(meter.key, Term(self._shape(asset.kind, meter.key, crowded=crowded), own), asset.kind)
        first = self.nodes[leaves[0].key].active if leaves else None
        active = first or Term(self._shape(asset.kind, asset.key, crowded=crowded), rated)
        share = Term(active.row, 1.0)
        self.views[asset.key] = AssetView(asset.kind, rated, share, Term(active.row, rated), share, active)

    def _shape(self, kind: AssetKind, key: str, *, crowded: bool) -> int:
        behaviour = behaviour_name(kind, key)
        variant = str(int(uniform_of(self.seed, "shape", key) * _SHARED_SHAPES)) if crowded else key
        source = stream(self.seed, "load", behaviour, variant)
        return self._row(f"load {behaviour} {variant}", lambda day, _: share_of(behaviour, day, source))

    def _machine(self, asset: Asset) -> tuple[int, Term, Term]:
        """Return the row of power share, the load and the receiver of a compressor, chiller or inverter."""
        key, source = asset.key, stream(self.seed, "machine", asset.key)
        if asset.kind is AssetKind.COMPRESSOR:
            period = _CYCLE_KNOTS[int(uniform_of(self.seed, "cycle", key) * len(_CYCLE_KNOTS))]
            mean = 0.62 + 0.16 * uniform_of(self.seed, "mean load", key)
            load = self._row(f"loaded {key}", lambda day, _: compressor_cycle(source, day.knot, period, mean).loaded)
            receiver = self._row(
                f"receiver {key}", lambda day, _: compressor_cycle(source, day.knot, period, mean).receiver
            )
            shape = self._row(f"power {key}", lambda _, rows: UNLOADED_SHARE + (1.0 - UNLOADED_SHARE) * rows[load])
            return shape, Term(load, 1.0), Term(receiver, 1.0)
        if asset.kind is AssetKind.CHILLER:
            load = self._row(f"part load {key}", lambda day, _: part_load(day, smooth(source, day.time_s, 1500.0)))
            shape = self._row(f"power {key}", lambda day, rows: chiller_power_share(day.weather.wet_bulb_c, rows[load]))
            return shape, Term(load, 1.0), Term(load, 1.0)
        soiling = 0.95 + 0.05 * uniform_of(self.seed, "soiling", key)
        load = self._row(f"pv {key}", lambda day, _: pv_share(day, soiling))
        shape = self._row(f"power {key}", lambda _, rows: -rows[load])
        return shape, Term(load, 1.0), Term(load, 1.0)

    def _cooling(self, asset: Asset, load: Term, rated_kw: float) -> Term:
        """Return the heat that a chiller takes out of its water [kW]."""
        row = self._row(f"cooling {asset.key}", lambda day, rows: cooling_share(day.weather.wet_bulb_c, rows[load.row]))
        return Term(row, REFERENCE_COP * rated_kw)

    def _leaf(self, key: str, active: Term, kind: AssetKind) -> None:
        generator = kind is AssetKind.PV_INVERTER
        power_factor = 0.999 if generator else 0.91 + 0.07 * uniform_of(self.seed, "power factor", key)
        tangent = float(np.tan(np.arccos(power_factor)))
        self.nodes[key] = Node(
            active,
            Term(active.row, active.factor * tangent),
            Term(active.row, active.factor / power_factor),
            generator,
        )
        self.below_kw[key] = 0.0 if generator else active.factor

    def _bus(
        self,
        key: str,
        energy: Mapping[str, Meter],
        assets: Mapping[str, Asset],
        children: Mapping[str, Sequence[str]],
        above: tuple[str, ...],
    ) -> None:
        """Make sure that a meter has its node, those below it first."""
        if key in self.nodes:
            return
        if key in above:
            raise ConfigurationError(f"meters {', '.join((*above, key))} are each other's parents; break the ring")
        for child in children[key]:
            self._bus(child, energy, assets, children, (*above, key))
        active: dict[int, float] = defaultdict(float)
        reactive: dict[int, float] = defaultdict(float)
        for child in children[key]:
            node = self.nodes[child]
            active[node.active.row] += node.active.factor
            reactive[node.reactive.row] += node.reactive.factor
        below = sum(self.below_kw[child] for child in children[key])
        self.below_kw[key] = below
        if assets[energy[key].asset].kind is AssetKind.INCOMER and below > 0:
            rest = Term(self._shape(AssetKind.OTHER, f"unmetered-{key}", crowded=False), UNMETERED_SHARE * below / 0.6)
            self.unmetered[key] = rest
            active[rest.row] += rest.factor
            reactive[rest.row] += 0.3 * rest.factor
        p = self._row(f"bus {key}", sum_rule(active))
        q = self._row(f"reactive {key}", sum_rule(reactive))
        s = self._row(f"apparent {key}", lambda _, rows: np.hypot(rows[p], rows[q]))
        generator = all(self.nodes[child].generator for child in children[key])
        self.nodes[key] = Node(Term(p, 1.0), Term(q, 1.0), Term(s, 1.0), generator)

    def _view_of_bus(self, asset: Asset, meters: Sequence[Meter]) -> None:
        """An asset that is itself a bus (an incomer, a cleanroom with feeders) is as busy as its topmost meter."""
        view = self.views[asset.key]
        if view.kind in {AssetKind.COMPRESSOR, AssetKind.CHILLER, AssetKind.PV_INVERTER}:
            return
        own = {meter.key for meter in meters}
        top = next((meter.key for meter in meters if meter.parent not in own), None)
        if top is not None:
            active = self.nodes[top].active
            share = Term(active.row, active.factor / view.rated_kw)
            self.views[asset.key] = AssetView(view.kind, view.rated_kw, share, active, share, active)

    def _mirrors(self, energy: Mapping[str, Meter]) -> None:
        """Controllers that report the power which a feeder meter measures: on no bus, but they show the same."""
        for meter in self.plant.meters:
            if meter.key in energy or not self._profile(meter).measures_energy:
                continue
            view = self.views[meter.asset]
            self._leaf(meter.key, view.active, view.kind)
