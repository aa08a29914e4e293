"""From the plant's description to rows of power: which load each meter sees, and how meters add up at every bus.

A row is a function of time on the knots of a day; a term is a row times a positive factor. A meter without meters
below it shows a load of its own; any other shows exactly the sum of those below, plus, at an incomer, a small load
that nobody meters. Reactive power adds up the same way, so power factors are those of a real bus.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from emsd.errors import ConfigurationError
from emsd.plant.models import Asset, AssetKind, Meter, Plant
from emsd.plant.profile import Profile
from simulator.noise import stream, uniform_of
from simulator.physics.behaviours import (
    BY_NAME,
    CHILLED_PUMP,
    CONDENSER_PUMP,
    FREE_COOLING,
    HEAT_TO_WATER,
    PROCESS_TOOLS,
    TOWER,
    behaviour_name,
)
from simulator.physics.buildings import building, pump
from simulator.physics.chilled_water import REFERENCE_COP, ChillerGroup, pump_share, tower_share
from simulator.physics.compressed_air import CYCLE_KNOTS, Compressor, CompressorGroup
from simulator.physics.day import SITE_ROWS
from simulator.physics.photovoltaics import DC_TO_AC_RATIO, TEMPERATURE_COEFFICIENT, pv_share
from simulator.physics.production import busy_tools, tool_power
from simulator.physics.scenarios import Scenarios
from simulator.rules import Rule, site_rule, sum_rule

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

_MACHINES = frozenset({AssetKind.COMPRESSOR, AssetKind.CHILLER, AssetKind.PV_INVERTER})
_SERVANTS = frozenset({CHILLED_PUMP, CONDENSER_PUMP, FREE_COOLING, TOWER})
_DRIVE_WORDS = frozenset({"vsd", "vfd", "drive"})


class Term(NamedTuple):
    """A row times a factor >= 0."""

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
    """What controllers and sensors of an asset see of it."""

    kind: AssetKind
    rated_kw: float
    load: Term
    """How hard it works, 0..1."""
    heat: Term
    """Heat or cold that it gives [kW]."""
    receiver: Term
    """How full its air receiver is, 0..1."""
    active: Term
    running: Term
    work: Term
    """What its production goes by [kW]."""
    starts: Term
    """How often its machine starts [1/h]."""
    drive: Term
    """1 where its motor has a variable-speed drive, 0 where it runs at mains frequency."""


@dataclass(frozen=True, slots=True)
class Topology:
    """All rows of a plant, in an order in which each needs only those before it."""

    rules: tuple[Rule, ...]
    rows: Mapping[str, int]
    """Row by name."""
    nodes: Mapping[str, Node]
    assets: Mapping[str, AssetView]
    children: Mapping[str, tuple[str, ...]]
    unmetered: Mapping[str, Term]
    """By meter: what flows through it beyond the sum of its children."""
    mirrors: frozenset[str]
    """Controllers that report what a meter of the same asset measures; they are on no bus."""


def build_topology(
    plant: Plant, profiles: Mapping[str, Profile], seed: int, scenarios: Scenarios | None = None
) -> Topology:
    """Return the rows and the buses of a plant.

    Loads that a scenario concerns have a shape of their own; apart from that scenarios change no row's place.

    Raises:
        ConfigurationError: meters are each other's parents, or a profile is unknown.
    """
    return _Builder(plant, profiles, seed, scenarios or Scenarios()).build()


@dataclass(slots=True)
class _Builder:
    plant: Plant
    profiles: Mapping[str, Profile]
    seed: int
    scenarios: Scenarios
    rules: list[Rule] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    views: dict[str, AssetView] = field(default_factory=dict)
    unmetered: dict[str, Term] = field(default_factory=dict)
    below_kw: dict[str, float] = field(default_factory=dict)
    heat: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    """Rows whose power heats the chilled water, and by which factor [kW]."""

    def build(self) -> Topology:
        for name in SITE_ROWS:
            self._row(name, site_rule(name))
        assets = {asset.key: asset for asset in self.plant.assets}
        energy = self._energy_meters()
        children: dict[str, list[str]] = defaultdict(list)
        for meter in energy.values():
            if meter.parent in energy:
                children[meter.parent].append(meter.key)
        leaves: dict[str, list[Meter]] = {key: [] for key in assets}
        for meter in energy.values():
            if not children[meter.key]:
                leaves[meter.asset].append(meter)
        self._assets(assets, leaves)
        for key in energy:
            self._bus(key, energy, assets, children, ())
        for asset in assets.values():
            self._view_of_bus(asset, [meter for meter in energy.values() if meter.asset == asset.key])
        self._mirrors(energy)
        tree = {key: tuple(below) for key, below in children.items() if below}
        mirrors = frozenset(self.nodes.keys() - energy.keys())
        return Topology(tuple(self.rules), self.rows, self.nodes, self.views, tree, self.unmetered, mirrors)

    def _assets(self, assets: Mapping[str, Asset], leaves: Mapping[str, Sequence[Meter]]) -> None:
        """Add all loads, then the machines that serve them, then what serves the machines."""
        crowded = sum(map(len, leaves.values())) > _OWN_SHAPE_LOADS
        loads = [asset for asset in assets.values() if asset.kind not in _MACHINES]
        serving = [asset for asset in loads if self._serves(asset, leaves[asset.key])]
        waiting = {asset.key for asset in serving}
        for asset in loads:
            if asset.key not in waiting:
                self._loads(asset, leaves[asset.key], crowded=crowded)
        self._chillers([asset for asset in assets.values() if asset.kind is AssetKind.CHILLER])
        self._compressors([asset for asset in assets.values() if asset.kind is AssetKind.COMPRESSOR])
        for asset in assets.values():
            if asset.kind in _MACHINES:
                self._machine(asset, leaves[asset.key])
        for asset in serving:
            self._loads(asset, leaves[asset.key], crowded=crowded)

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
        return self._rows((name,), rule)

    def _rows(self, names: Sequence[str], rule: Rule) -> int:
        """Add the rows that one rule computes, and return the first; none is added twice."""
        if names[0] not in self.rows:
            start = len(self.rows)
            self.rows |= {name: start + place for place, name in enumerate(names)}
            self.rules.append(rule)
        return self.rows[names[0]]

    def _rated_kw(self, asset: Asset) -> float:
        return asset.rated_power_kw or _RATED_KW.get(asset.kind, 50.0)

    def _serves(self, asset: Asset, leaves: Sequence[Meter]) -> bool:
        """Whether an asset's loads follow the chillers, which must be known first."""
        names = [meter.key for meter in leaves] or [asset.key]
        return any(behaviour_name(asset.kind, name) in _SERVANTS for name in names)

    def _loads(self, asset: Asset, leaves: Sequence[Meter], *, crowded: bool) -> None:
        """Add a load for each meter of an asset that is no machine."""
        rated = self._rated_kw(asset)
        work: int | None = None
        for meter in leaves:
            own = meter.rated_power_kw or rated / len(leaves)
            shape, busy = self._shape(asset, meter.key, crowded=crowded)
            work = shape if busy is None else busy
            self._leaf(meter.key, Term(shape, own), asset.kind)
            self.heat[shape] += own * HEAT_TO_WATER.get(behaviour_name(asset.kind, meter.key), 0.0)
        if leaves:
            active = self.nodes[leaves[0].key].active
        else:
            shape, work = self._shape(asset, asset.key, crowded=crowded)
            active = Term(shape, rated)
        share, always = Term(active.row, 1.0), Term(self.rows["always"], 1.0)
        worked = Term(active.row if work is None else work, active.factor)
        heat, never = Term(active.row, rated), Term(always.row, 0.0)
        self.views[asset.key] = AssetView(asset.kind, rated, share, heat, share, active, always, worked, never, always)

    def _shape(self, asset: Asset, key: str, *, crowded: bool) -> tuple[int, int | None]:
        """Return the row of a load's power, of its rated, and that of its tools' work if it has any."""
        behaviour = behaviour_name(asset.kind, key)
        own = not crowded or self.scenarios.concern(asset.key, asset.kind)
        variant = key if own else str(int(uniform_of(self.seed, "shape", key) * _SHARED_SHAPES))
        name, source = f"load {behaviour} {variant}", stream(self.seed, "load", behaviour, variant)
        if behaviour == PROCESS_TOOLS:
            busy = self._row(f"busy {variant}", lambda day, _: busy_tools(day, source))
            return self._row(name, lambda day, rows: tool_power(day, rows[busy], source)), busy
        if behaviour in _SERVANTS:
            return self._servant(behaviour, name), None
        compute = BY_NAME[behaviour]
        return self._row(name, lambda day, _: compute(day, source, asset.key)), None

    def _servant(self, behaviour: str, name: str) -> int:
        """Return the row of a pump or tower of the chilled-water plant; all of one kind share the load evenly."""
        if "cooling load" not in self.rows:
            source = stream(self.seed, "load", "pump", name)
            return self._row(name, lambda day, _: pump(day, source, name))
        load, rejected = self.rows["cooling load"], self.rows["rejected heat"]
        if behaviour == FREE_COOLING:
            free = self.rows["free cooling"]
            return self._row(behaviour, lambda _, rows: 0.9 * rows[free])
        if behaviour == TOWER:
            return self._row(behaviour, lambda _, rows: tower_share(rows[rejected]))
        row = rejected if behaviour == CONDENSER_PUMP else load
        return self._row(behaviour, lambda _, rows: pump_share(rows[row]))

    def _chillers(self, chillers: Sequence[Asset]) -> None:
        if chillers:
            rated = [(asset.key, self._rated_kw(asset)) for asset in chillers]
            heat = {row: factor for row, factor in self.heat.items() if factor > 0}
            group = ChillerGroup.of(rated, heat, sum(heat.values()), stream(self.seed, "site", "chilled water"))
            self._rows(group.row_names, group.rows)

    def _compressors(self, compressors: Sequence[Asset]) -> None:
        if compressors:
            machines = [
                Compressor(
                    asset.key,
                    self._rated_kw(asset),
                    _has_drive(asset),
                    CYCLE_KNOTS[int(uniform_of(self.seed, "cycle", asset.key) * len(CYCLE_KNOTS))],
                )
                for asset in compressors
            ]
            group = CompressorGroup.of(machines, stream(self.seed, "site", "compressed air"))
            self._rows(group.row_names, group.rows)

    def _machine(self, asset: Asset, leaves: Sequence[Meter]) -> None:
        """Add a machine that its meters share."""
        key, rated = asset.key, self._rated_kw(asset)
        running = drive = Term(self.rows["always"], 1.0)
        starts = Term(running.row, 0.0)
        if asset.kind is AssetKind.CHILLER:
            shape, load = self.rows[f"chiller power {key}"], Term(self.rows[f"part load {key}"], 1.0)
            heat, receiver = Term(self.rows[f"cooling {key}"], REFERENCE_COP * rated), load
            running, starts = Term(self.rows[f"running {key}"], 1.0), Term(self.rows[f"starts {key}"], 1.0)
        elif asset.kind is AssetKind.COMPRESSOR:
            shape, load = self.rows[f"compressor power {key}"], Term(self.rows[f"loaded {key}"], 1.0)
            heat, receiver = Term(load.row, rated), Term(self.rows[f"receiver {key}"], 1.0)
            running, starts = Term(self.rows[f"running {key}"], 1.0), Term(self.rows[f"starts {key}"], 1.0)
            drive = Term(self.rows[f"drive {key}"], 1.0)
        else:
            shape, load = self._inverter(asset, rated)
            heat, receiver = Term(load.row, rated), load
        active = Term(shape, rated)
        for meter in leaves:
            self._leaf(meter.key, Term(shape, rated / len(leaves)), asset.kind)
        self.views[key] = AssetView(asset.kind, rated, load, heat, receiver, active, running, active, starts, drive)

    def _inverter(self, asset: Asset, rated: float) -> tuple[int, Term]:
        """Return the row of an inverter's power, which is negative, and its load."""
        peak = asset.kpi.peak_power_kwp if asset.kpi else None
        ratio = DC_TO_AC_RATIO if peak is None else peak / rated
        gamma = asset.kpi.temperature_coefficient_per_k if asset.kpi else None
        module = TEMPERATURE_COEFFICIENT if gamma is None else gamma
        key, source = asset.key, stream(self.seed, "machine", asset.key)
        load = self._row(f"pv {key}", lambda day, _: pv_share(day, source, key, ratio, module))
        return self._row(f"power {key}", lambda _, rows: -rows[load]), Term(load, 1.0)

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
            source = stream(self.seed, "load", "building", f"unmetered-{key}")
            row = self._row(f"unmetered {key}", lambda day, _: building(day, source, key))
            rest = Term(row, UNMETERED_SHARE * below / 0.55)
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
        if view.kind in _MACHINES:
            return
        own = {meter.key for meter in meters}
        top = next((meter.key for meter in meters if meter.parent not in own), None)
        if top is not None:
            active = self.nodes[top].active
            share = Term(active.row, active.factor / view.rated_kw)
            self.views[asset.key] = replace(view, load=share, heat=active, receiver=share, active=active)

    def _mirrors(self, energy: Mapping[str, Meter]) -> None:
        """Controllers that report the power which a feeder meter measures: on no bus, but they show the same."""
        for meter in self.plant.meters:
            if meter.key in energy or not self._profile(meter).measures_energy:
                continue
            view = self.views[meter.asset]
            self._leaf(meter.key, view.active, view.kind)


def _has_drive(asset: Asset) -> bool:
    """Whether a compressor has a variable-speed drive, by a word of its key."""
    return not _DRIVE_WORDS.isdisjoint(asset.key.replace("_", "-").split("-"))
