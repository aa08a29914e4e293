"""Key figures as they truly are: what equipment makes of its energy, by the integrals of the physics.

Names, units and definitions are those of docs/kpi.md, so that what the service computes of its meters can be compared.
Each is a ratio of sums over the window; None where nothing ran that it could be related to, or a plate is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from emsd.plant.models import Asset, AssetKind
from emsd.plant.tree import ancestors
from simulator.noise import FloatArray, IntArray
from simulator.physics.compressed_air import AIR_NM3_PER_KWH
from simulator.scopes import inverters_of_areas, meters_of_areas, meters_of_asset
from simulator.topology import AssetView, Term
from simulator.truth import SimulatedPlant

__all__ = ["TrueKpi", "kpis_of_areas", "kpis_of_assets"]

_KW_PER_RT: Final = 3.516853  # 12,000 Btu/h: NIST Special Publication 811, appendix B.8
_MINUTES_PER_HOUR: Final = 60.0
_DARK_W_M2: Final = 20.0  # IEC 61724-1 leaves out what is below
_QUARTER_US: Final = 900_000_000
_US_PER_HOUR: Final = 3.6e9


class TrueKpi(NamedTuple):
    """A key figure of a window; None when it has no value."""

    value: float | None
    unit: str


@dataclass(slots=True)
class _Sums:
    """Integrals over one window of whatever was asked for, all rows in one pass over its days."""

    physics: SimulatedPlant
    from_us: int
    to_us: int

    @property
    def hours(self) -> float:
        return (self.to_us - self.from_us) / _US_PER_HOUR

    def net(self, terms: Sequence[Sequence[Term]]) -> list[float]:
        """Return for each group of terms the integral of its sum [unit x h]."""
        rows = sorted({term.row for group in terms for term in group})
        if not rows:
            return [0.0] * len(terms)
        edges = np.array([self.from_us, self.to_us], dtype=np.int64)
        total = self.physics.tables.between(np.array(rows, dtype=np.int64), edges)
        by_row = dict(zip(rows, (total.positive - total.negative)[:, 0].tolist(), strict=True))
        return [sum((by_row[term.row] * term.factor for term in group), 0.0) for group in terms]


def kpis_of_assets(physics: SimulatedPlant, from_us: int, to_us: int) -> dict[str, dict[str, TrueKpi]]:
    """Return by asset and name the key figures of chillers, compressors, cleanroom equipment and PV inverters.

    Raises:
        ValueError: to_us is not after from_us.
    """
    sums = _window(physics, from_us, to_us)
    assets = [asset for asset in physics.plant.assets if asset.kind in _KINDS]
    terms = [group for asset in assets for group in _terms(physics, asset)]
    found = iter(sums.net(terms))
    floor = _floor_areas_m2(physics)
    result: dict[str, dict[str, TrueKpi]] = {}
    for asset in assets:
        energy_kwh, heat_kwh, load_h, running_h = (next(found) for _ in range(4))
        match asset.kind:
            case AssetKind.CHILLER:
                result[asset.key] = _chiller(heat_kwh, energy_kwh)
            case AssetKind.COMPRESSOR:
                air_nm3 = physics.topology.assets[asset.key].rated_kw * AIR_NM3_PER_KWH * load_h
                result[asset.key] = _compressor(energy_kwh, air_nm3, load_h, running_h)
            case AssetKind.CLEANROOM:
                density = _density(energy_kwh, sums.hours, floor.get(asset.area))
                result[asset.key] = {"cleanroom_power_density": density}
            case _:
                result[asset.key] = {"pv_specific_yield": _specific_yield(asset, -energy_kwh)}
    for key, ratio in _performance_ratios(sums, [each for each in assets if each.kind is AssetKind.PV_INVERTER]):
        result[key]["pv_performance_ratio"] = ratio
    return result


def kpis_of_areas(physics: SimulatedPlant, from_us: int, to_us: int) -> dict[str, dict[str, TrueKpi]]:
    """Return by area its mean power over its floor area; consumption is what the grid and its own PV gave.

    Raises:
        ValueError: to_us is not after from_us.
    """
    sums = _window(physics, from_us, to_us)
    meters, inverters = meters_of_areas(physics), inverters_of_areas(physics)
    nodes = physics.topology.nodes
    taken = sums.net([[nodes[key].active for key in own] for own in meters.values()])
    made = sums.net([[nodes[key].active for key in inverters[area]] for area in meters])
    floor = {area.key: area.floor_area_m2 for area in physics.plant.areas}
    return {
        area: {"power_density": _density(net_kwh - pv_kwh, sums.hours, floor[area])}
        for area, net_kwh, pv_kwh in zip(meters, taken, made, strict=True)
    }


_KINDS: Final = frozenset({AssetKind.CHILLER, AssetKind.COMPRESSOR, AssetKind.CLEANROOM, AssetKind.PV_INVERTER})


def _window(physics: SimulatedPlant, from_us: int, to_us: int) -> _Sums:
    if to_us <= from_us:
        raise ValueError(f"the window ends ({to_us}) before it begins ({from_us})")
    return _Sums(physics, from_us, to_us)


def _terms(physics: SimulatedPlant, asset: Asset) -> list[list[Term]]:
    """Return what an asset's key figures are made of: power, heat, load and running."""
    view = physics.topology.assets[asset.key]
    return [_power(physics, asset.key, view), [view.heat], [view.load], [view.running]]


def _power(physics: SimulatedPlant, asset_key: str, view: AssetView) -> list[Term]:
    """Return the power of an asset: what its uppermost meters see, or without meters its own."""
    own = meters_of_asset(physics, asset_key)
    return [physics.topology.nodes[key].active for key in own] or [view.active]


def _chiller(cooling_kwh: float, energy_kwh: float) -> dict[str, TrueKpi]:
    cop = cooling_kwh / energy_kwh if energy_kwh > 0 else None
    return {
        "chiller_cop": TrueKpi(cop, "1"),
        "chiller_kw_per_rt": TrueKpi(_KW_PER_RT / cop if cop else None, "kW/RT"),
    }


def _compressor(energy_kwh: float, air_nm3: float, loaded_h: float, running_h: float) -> dict[str, TrueKpi]:
    """Return both figures; of a machine on a drive the share of its air counts as time, as in its hour counters."""
    specific = energy_kwh * _MINUTES_PER_HOUR / air_nm3 if air_nm3 > 0 else None
    return {
        "compressor_specific_power": TrueKpi(specific, "kW/(Nm3/min)"),
        "compressor_load_ratio": TrueKpi(100.0 * loaded_h / running_h if running_h > 0 else None, "%"),
    }


def _density(energy_kwh: float, hours: float, floor_area_m2: float | None) -> TrueKpi:
    return TrueKpi(1000.0 * energy_kwh / hours / floor_area_m2 if floor_area_m2 else None, "W/m2")


def _peak_kwp(asset: Asset) -> float | None:
    return (asset.kpi.peak_power_kwp if asset.kpi else None) or asset.rated_power_kw


def _specific_yield(asset: Asset, yield_kwh: float) -> TrueKpi:
    peak_kwp = _peak_kwp(asset)
    return TrueKpi(yield_kwh / peak_kwp if peak_kwp else None, "kWh/kWp")


def _performance_ratios(sums: _Sums, inverters: Sequence[Asset]) -> list[tuple[str, TrueKpi]]:
    """Return the performance ratio of each inverter, of the quarter hours in which the modules had light."""
    if not inverters:
        return []
    physics = sums.physics
    edges = _quarter_edges(sums.from_us, sums.to_us)
    light = np.array([physics.topology.rows["irradiance_poa_w_m2"]], dtype=np.int64)
    irradiation: FloatArray = physics.tables.between(light, edges).positive[0] / 1000.0
    lit = irradiation >= _DARK_W_M2 / 1000.0 * np.diff(edges) / _US_PER_HOUR
    sun_kwh_m2 = float(irradiation[lit].sum())
    powers = {asset.key: _power(physics, asset.key, physics.topology.assets[asset.key]) for asset in inverters}
    rows = np.array(sorted({term.row for own in powers.values() for term in own}), dtype=np.int64)
    total = physics.tables.between(rows, edges)
    made = dict(zip(rows.tolist(), (total.negative - total.positive)[:, lit].sum(axis=1).tolist(), strict=True))
    found = []
    for asset in inverters:
        peak_kwp, yield_kwh = _peak_kwp(asset), sum(made[term.row] * term.factor for term in powers[asset.key])
        ratio = yield_kwh / peak_kwp / sun_kwh_m2 if peak_kwp and sun_kwh_m2 > 0 else None
        found.append((asset.key, TrueKpi(ratio, "1")))
    return found


def _quarter_edges(from_us: int, to_us: int) -> IntArray:
    """Return both ends of a window and the quarter hours between them [us]."""
    quarters = np.arange((from_us // _QUARTER_US + 1) * _QUARTER_US, to_us, _QUARTER_US, dtype=np.int64)
    return np.concatenate([[from_us], quarters, [to_us]]).astype(np.int64)


def _floor_areas_m2(physics: SimulatedPlant) -> Mapping[str, float]:
    """Return the floor area of every area that has one, or of the nearest above it that has."""
    areas = {area.key: area.floor_area_m2 for area in physics.plant.areas}
    parents = {area.key: area.parent for area in physics.plant.areas}
    found = {}
    for key in areas:
        said = next((areas[each] for each in (key, *ancestors(key, parents)) if areas[each] is not None), None)
        if said is not None:
            found[key] = said
    return found
