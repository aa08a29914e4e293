"""From the plant's description to rows of power: which load each meter sees, and how meters add up at every bus.

A meter without meters below it shows a load of its own; any other shows exactly the sum of those below, plus, at an
incomer, a small load that nobody meters. Reactive power adds up the same way, so power factors are those of a real bus.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from emsd.errors import ConfigurationError
from emsd.plant.models import Asset, AssetKind, Meter, Plant
from emsd.plant.profile import Profile
from simulator.asset_rows import MACHINES, AssetRows, leaf
from simulator.noise import stream
from simulator.physics.buildings import building
from simulator.physics.day import SITE_ROWS
from simulator.physics.scenarios import Scenarios
from simulator.rules import site_rule, sum_rule
from simulator.topology import AssetView, Node, RowBook, Term, Topology

__all__ = ["build_topology"]

UNMETERED_SHARE = 0.03
"""Load at an incomer that no meter sees, of the rated power below it."""


def build_topology(
    plant: Plant, profiles: Mapping[str, Profile], seed: int, scenarios: Scenarios | None = None
) -> Topology:
    """Return the rows and the buses of a plant.

    Loads that a scenario concerns have a shape of their own; apart from that scenarios change no row's place.

    Raises:
        ConfigurationError: meters are each other's parents, or a profile is unknown.
    """
    book = RowBook()
    for name in SITE_ROWS:
        book.row(name, site_rule(name))
    meters = _Meters(plant, profiles)
    assets = AssetRows(book, seed, scenarios or Scenarios(), meters.leaves())
    assets.add(plant.assets)
    buses = _Buses(book, seed, meters, assets.nodes)
    for key in meters.energy:
        buses.add(key)
    views = {key: _as_bus(view, key, meters, assets.nodes) for key, view in assets.views.items()}
    mirrors = meters.mirrors()
    for meter in mirrors:
        view = views[meter.asset]
        assets.nodes[meter.key] = leaf(seed, meter.key, view.active, view.kind)
    return Topology(
        tuple(book.rules),
        book.rows,
        assets.nodes,
        views,
        {key: tuple(below) for key, below in meters.children.items() if below},
        buses.unmetered,
        frozenset(meter.key for meter in mirrors),
    )


class _Meters:
    """The meters of a plant that are on a bus, and which of them are below which."""

    def __init__(self, plant: Plant, profiles: Mapping[str, Profile]) -> None:
        self.assets: Mapping[str, Asset] = {asset.key: asset for asset in plant.assets}
        self._plant = plant
        self._profiles = profiles
        self.energy = self._on_a_bus()
        self.children: Mapping[str, list[str]] = {key: [] for key in self.energy}
        for meter in self.energy.values():
            if meter.parent in self.energy:
                self.children[meter.parent].append(meter.key)

    def leaves(self) -> dict[str, list[Meter]]:
        """Return the meters of each asset that have none below them."""
        found: dict[str, list[Meter]] = {key: [] for key in self.assets}
        for meter in self.energy.values():
            if not self.children[meter.key]:
                found[meter.asset].append(meter)
        return found

    def mirrors(self) -> list[Meter]:
        """Return controllers that report the power which a feeder meter measures: on no bus, but they show the same."""
        return [
            meter
            for meter in self._plant.meters
            if meter.key not in self.energy and self._profile(meter).measures_energy
        ]

    def _on_a_bus(self) -> dict[str, Meter]:
        """Return those that measure energy, unless they only report what a feeder meter measures."""
        measuring = [meter for meter in self._plant.meters if self._profile(meter).measures_energy]
        metered = {meter.asset for meter in measuring if self._is_feeder_meter(meter)}
        return {
            meter.key: meter
            for meter in measuring
            if self._is_feeder_meter(meter) or meter.parent is not None or meter.asset not in metered
        }

    def _is_feeder_meter(self, meter: Meter) -> bool:
        return self._profile(meter).kind in {"power_meter", "pv_inverter", "generic"}

    def _profile(self, meter: Meter) -> Profile:
        try:
            return self._profiles[meter.profile]
        except KeyError:
            raise ConfigurationError(
                f"meter {meter.key} has profile {meter.profile}, which is unknown; `emsd profiles` lists those that are"
            ) from None


@dataclass(slots=True)
class _Buses:
    """Adds up what meters see that are below others."""

    book: RowBook
    seed: int
    meters: _Meters
    nodes: dict[str, Node]
    unmetered: dict[str, Term] = field(default_factory=dict)
    _below_kw: dict[str, float] = field(default_factory=dict)
    """By meter: rated power of the loads below it."""

    def add(self, key: str, above: tuple[str, ...] = ()) -> None:
        """Make sure that a meter has its node, those below it first."""
        if key in self.nodes:
            return
        if key in above:
            raise ConfigurationError(f"meters {', '.join((*above, key))} are each other's parents; break the ring")
        children = self.meters.children[key]
        for child in children:
            self.add(child, (*above, key))
        active: dict[int, float] = defaultdict(float)
        reactive: dict[int, float] = defaultdict(float)
        for child in children:
            node = self.nodes[child]
            active[node.active.row] += node.active.factor
            reactive[node.reactive.row] += node.reactive.factor
        rest = self._unmetered(key)
        if rest is not None:
            active[rest.row] += rest.factor
            reactive[rest.row] += 0.3 * rest.factor
        row = self.book.row
        p = row(f"bus {key}", sum_rule(active))
        q = row(f"reactive {key}", sum_rule(reactive))
        s = row(f"apparent {key}", lambda _, rows: np.hypot(rows[p], rows[q]))
        generator = all(self.nodes[child].generator for child in children)
        self.nodes[key] = Node(Term(p, 1.0), Term(q, 1.0), Term(s, 1.0), generator)

    def _unmetered(self, key: str) -> Term | None:
        """Return what an incomer's meter sees beyond those below it."""
        below = self._loads_kw(key)
        if self.meters.assets[self.meters.energy[key].asset].kind is not AssetKind.INCOMER or below <= 0:
            return None
        source = stream(self.seed, "load", "building", f"unmetered-{key}")
        row = self.book.row(f"unmetered {key}", lambda day, _: building(day, source, key))
        rest = self.unmetered[key] = Term(row, UNMETERED_SHARE * below / 0.55)
        return rest

    def _loads_kw(self, key: str) -> float:
        """Return the rated power of the loads that a meter sees [kW]."""
        if key not in self._below_kw:
            children = self.meters.children[key]
            node = self.nodes.get(key)
            own = 0.0 if node is None or node.generator else node.active.factor
            self._below_kw[key] = sum(map(self._loads_kw, children)) if children else own
        return self._below_kw[key]


def _as_bus(view: AssetView, asset: str, meters: _Meters, nodes: Mapping[str, Node]) -> AssetView:
    """Return the view of an asset that is itself a bus (an incomer, a cleanroom): as busy as its topmost meter."""
    if view.kind in MACHINES:
        return view
    own = {meter.key: meter for meter in meters.energy.values() if meter.asset == asset}
    top = next((meter.key for meter in own.values() if meter.parent not in own), None)
    if top is None:
        return view
    active = nodes[top].active
    share = Term(active.row, active.factor / view.rated_kw)
    return replace(view, load=share, heat=active, receiver=share, active=active)
