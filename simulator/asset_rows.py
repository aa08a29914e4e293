"""Assets as rows of power: loads, the machines that serve them, and what serves the machines.

A meter without meters below it shows a load of its own. Machines of one kind are a group that shares what is wanted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from emsd.plant.models import Asset, AssetKind, Meter
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
from simulator.physics.buildings import pump
from simulator.physics.chilled_water import REFERENCE_COP, ChillerGroup, pump_share, tower_share
from simulator.physics.compressed_air import CYCLE_KNOTS, Compressor, CompressorGroup
from simulator.physics.photovoltaics import DC_TO_AC_RATIO, TEMPERATURE_COEFFICIENT, pv_share
from simulator.physics.production import busy_tools, tool_power
from simulator.physics.scenarios import Scenarios
from simulator.topology import AssetView, Node, RowBook, Term

__all__ = ["MACHINES", "AssetRows", "leaf"]

MACHINES = frozenset({AssetKind.COMPRESSOR, AssetKind.CHILLER, AssetKind.PV_INVERTER})

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

_SERVANTS = frozenset({CHILLED_PUMP, CONDENSER_PUMP, FREE_COOLING, TOWER})
_DRIVE_WORDS = frozenset({"vsd", "vfd", "drive"})


def leaf(seed: int, key: str, active: Term, kind: AssetKind) -> Node:
    """Return what a meter sees that has none below it; its power factor is its own."""
    generator = kind is AssetKind.PV_INVERTER
    power_factor = 0.999 if generator else 0.91 + 0.07 * uniform_of(seed, "power factor", key)
    tangent = float(np.tan(np.arccos(power_factor)))
    return Node(
        active,
        Term(active.row, active.factor * tangent),
        Term(active.row, active.factor / power_factor),
        generator,
    )


@dataclass(slots=True)
class AssetRows:
    """Puts the rows of assets and of the meters right at them into a book.

    leaves  by asset: its meters that have none below them
    """

    book: RowBook
    seed: int
    scenarios: Scenarios
    leaves: Mapping[str, Sequence[Meter]]
    nodes: dict[str, Node] = field(default_factory=dict)
    """By meter: what it sees."""
    views: dict[str, AssetView] = field(default_factory=dict)
    """By asset."""
    _heat: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    """Rows whose power heats the chilled water, and by which factor [kW]."""

    def add(self, assets: Sequence[Asset]) -> None:
        """Add all loads, then the machines that serve them, then what serves the machines."""
        crowded = sum(map(len, self.leaves.values())) > _OWN_SHAPE_LOADS
        loads = [asset for asset in assets if asset.kind not in MACHINES]
        waiting = {asset.key for asset in loads if self._serves(asset, self.leaves[asset.key])}
        for asset in loads:
            if asset.key not in waiting:
                self._loads(asset, self.leaves[asset.key], crowded=crowded)
        self._chillers([asset for asset in assets if asset.kind is AssetKind.CHILLER])
        self._compressors([asset for asset in assets if asset.kind is AssetKind.COMPRESSOR])
        for asset in assets:
            if asset.kind in MACHINES:
                self._machine(asset, self.leaves[asset.key])
        for asset in loads:
            if asset.key in waiting:
                self._loads(asset, self.leaves[asset.key], crowded=crowded)

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
            self.nodes[meter.key] = leaf(self.seed, meter.key, Term(shape, own), asset.kind)
            self._heat[shape] += own * HEAT_TO_WATER.get(behaviour_name(asset.kind, meter.key), 0.0)
        if leaves:
            active = self.nodes[leaves[0].key].active
        else:
            shape, work = self._shape(asset, asset.key, crowded=crowded)
            active = Term(shape, rated)
        share, always = Term(active.row, 1.0), Term(self.book.rows["always"], 1.0)
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
            busy = self.book.row(f"busy {variant}", lambda day, _: busy_tools(day, source))
            return self.book.row(name, lambda day, rows: tool_power(day, rows[busy], source)), busy
        if behaviour in _SERVANTS:
            return self._servant(behaviour, name), None
        compute = BY_NAME[behaviour]
        return self.book.row(name, lambda day, _: compute(day, source, asset.key)), None

    def _servant(self, behaviour: str, name: str) -> int:
        """Return the row of a pump or tower of the chilled-water plant; all of one kind share the load evenly."""
        if "cooling load" not in self.book.rows:
            source = stream(self.seed, "load", "pump", name)
            return self.book.row(name, lambda day, _: pump(day, source, name))
        load, rejected = self.book.rows["cooling load"], self.book.rows["rejected heat"]
        if behaviour == FREE_COOLING:
            free = self.book.rows["free cooling"]
            return self.book.row(behaviour, lambda _, rows: 0.9 * rows[free])
        if behaviour == TOWER:
            return self.book.row(behaviour, lambda _, rows: tower_share(rows[rejected]))
        row = rejected if behaviour == CONDENSER_PUMP else load
        return self.book.row(behaviour, lambda _, rows: pump_share(rows[row]))

    def _chillers(self, chillers: Sequence[Asset]) -> None:
        if chillers:
            rated = [(asset.key, self._rated_kw(asset)) for asset in chillers]
            heat = {row: factor for row, factor in self._heat.items() if factor > 0}
            group = ChillerGroup.of(rated, heat, sum(heat.values()), stream(self.seed, "site", "chilled water"))
            self.book.several(group.row_names, group.rows)

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
            self.book.several(group.row_names, group.rows)

    def _machine(self, asset: Asset, leaves: Sequence[Meter]) -> None:
        """Add a machine that its meters share."""
        key, rated = asset.key, self._rated_kw(asset)
        running = drive = Term(self.book.rows["always"], 1.0)
        starts = Term(running.row, 0.0)
        if asset.kind is AssetKind.CHILLER:
            shape, load = self.book.rows[f"chiller power {key}"], Term(self.book.rows[f"part load {key}"], 1.0)
            heat, receiver = Term(self.book.rows[f"cooling {key}"], REFERENCE_COP * rated), load
            running, starts = Term(self.book.rows[f"running {key}"], 1.0), Term(self.book.rows[f"starts {key}"], 1.0)
        elif asset.kind is AssetKind.COMPRESSOR:
            shape, load = self.book.rows[f"compressor power {key}"], Term(self.book.rows[f"loaded {key}"], 1.0)
            heat, receiver = Term(load.row, rated), Term(self.book.rows[f"receiver {key}"], 1.0)
            running, starts = Term(self.book.rows[f"running {key}"], 1.0), Term(self.book.rows[f"starts {key}"], 1.0)
            drive = Term(self.book.rows[f"drive {key}"], 1.0)
        else:
            shape, load = self._inverter(asset, rated)
            heat, receiver = Term(load.row, rated), load
        active = Term(shape, rated)
        for meter in leaves:
            self.nodes[meter.key] = leaf(self.seed, meter.key, Term(shape, rated / len(leaves)), asset.kind)
        self.views[key] = AssetView(asset.kind, rated, load, heat, receiver, active, running, active, starts, drive)

    def _inverter(self, asset: Asset, rated: float) -> tuple[int, Term]:
        """Return the row of an inverter's power, which is negative, and its load."""
        peak = asset.kpi.peak_power_kwp if asset.kpi else None
        ratio = DC_TO_AC_RATIO if peak is None else peak / rated
        gamma = asset.kpi.temperature_coefficient_per_k if asset.kpi else None
        module = TEMPERATURE_COEFFICIENT if gamma is None else gamma
        key, source = asset.key, stream(self.seed, "machine", asset.key)
        load = self.book.row(f"pv {key}", lambda day, _: pv_share(day, source, key, ratio, module))
        return self.book.row(f"power {key}", lambda _, rows: -rows[load]), Term(load, 1.0)


def _has_drive(asset: Asset) -> bool:
    """Whether a compressor has a variable-speed drive, by a word of its key."""
    return not _DRIVE_WORDS.isdisjoint(asset.key.replace("_", "-").split("-"))
