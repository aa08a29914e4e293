"""Balance of a bus: what came onto it, what the meters below it took, and what is left over.

A bus is a meter with meters below it. In the load convention children sum to their parent, generators with their sign:

    residual = parent - sum of children           import less export each
    supply   = parent's import + children's export        what came onto the bus: from above, and from generators below
    percent  = 100 residual / supply

The residual is losses and load that nobody meters, plus what the meters' resolution and the spreading of energy between
their samples make of it; over longer time the latter vanish. It is stated only of buckets in which the bus and all of
its children are known: with a child missing it would be that child's energy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from emsd.energy.series import BoolArray, FloatArray, TimeArray

__all__ = ["BalanceSeries", "BalanceTotal", "BusEnergy", "balance", "joined_total", "total"]


@dataclass(frozen=True, slots=True, eq=False)
class BusEnergy:
    """One meter at a bus in k buckets; NaN where nothing is known, and for a direction that is not metered.

    import_kwh, export_kwh  float64[k] [kWh]
    estimated_kwh           float64[k] [kWh], the estimated part of both; 0 where nothing is known
    coverage                float64[k], 0..1; 0 where nothing is known
    """

    import_kwh: FloatArray
    export_kwh: FloatArray
    estimated_kwh: FloatArray
    coverage: FloatArray

    @property
    def known(self) -> BoolArray:
        """Where either direction is known, bool[k]."""
        return ~(np.isnan(self.import_kwh) & np.isnan(self.export_kwh))

    @property
    def net_kwh(self) -> FloatArray:
        """Import less export, float64[k] [kWh]."""
        net = np.nan_to_num(self.import_kwh) - np.nan_to_num(self.export_kwh)
        return np.where(self.known, net, np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class BalanceSeries:
    """The balance of one bus in k buckets, float64[k] each; NaN where the bus or a child is not known.

    measured_kwh, children_kwh, residual_kwh  net energy of the bus, of its children together, and what is left [kWh]
    supply_kwh         what came onto the bus [kWh]
    residual_percent   residual in percent of the supply; NaN too where nothing came
    coverage           of the bus, 0..1
    children_coverage  of the child that is covered worst, 0..1
    estimated_kwh      estimated part of the energy of the bus and its children [kWh]
    child_known        child -> bool[k], where it is known
    bus_known          bool[k]
    """

    measured_kwh: FloatArray
    children_kwh: FloatArray
    residual_kwh: FloatArray
    supply_kwh: FloatArray
    residual_percent: FloatArray
    coverage: FloatArray
    children_coverage: FloatArray
    estimated_kwh: FloatArray
    bus_known: BoolArray
    child_known: Mapping[str, BoolArray]


class BalanceTotal(NamedTuple):
    """The balance of one bus over a window; energies are those of its balanced time alone, None when there is none.

    balanced_share     share 0..1 of the window in which the bus and all of its children are known
    bus_missing_share  share 0..1 of the window in which the bus is not known
    missing            child -> share 0..1 of the window in which it is not known; only those that are missing
    """

    measured_kwh: float | None
    children_kwh: float | None
    residual_kwh: float | None
    supply_kwh: float | None
    residual_percent: float | None
    coverage: float
    children_coverage: float
    estimated_kwh: float
    balanced_share: float
    bus_missing_share: float
    missing: Mapping[str, float]


def balance(bus: BusEnergy, children: Mapping[str, BusEnergy]) -> BalanceSeries:
    """Return the balance of a bus and its children in the same k buckets.

    Raises ValueError when there is no child.
    """
    if not children:
        raise ValueError("a bus has at least one meter below it")
    known = bus.known.copy()
    net, export = np.zeros(known.size), np.zeros(known.size)
    estimated = np.nan_to_num(bus.estimated_kwh)
    worst = np.ones(known.size)
    for child in children.values():
        known &= child.known
        net += np.nan_to_num(child.net_kwh)
        export += np.nan_to_num(child.export_kwh)
        estimated = estimated + np.nan_to_num(child.estimated_kwh)
        worst = np.minimum(worst, child.coverage)
    unknown = np.where(known, 0.0, np.nan)
    measured, summed = bus.net_kwh + unknown, net + unknown
    supply = np.nan_to_num(bus.import_kwh) + export + unknown
    residual = measured - summed
    return BalanceSeries(
        measured_kwh=measured,
        children_kwh=summed,
        residual_kwh=residual,
        supply_kwh=supply,
        residual_percent=np.where(supply > 0, 100 * residual / np.where(supply > 0, supply, 1.0), np.nan),
        coverage=np.where(bus.known, bus.coverage, 0.0),
        children_coverage=worst,
        estimated_kwh=estimated + unknown,
        bus_known=bus.known,
        child_known={key: child.known for key, child in children.items()},
    )


def total(series: BalanceSeries, widths_us: TimeArray, window_us: int | None = None) -> BalanceTotal:
    """Add up the buckets of a balance, which are int64[k] wide [us]; shares are those of a window [us], or of all k."""
    width = widths_us / max(1, int(widths_us.sum()) if window_us is None else window_us)
    balanced = np.isfinite(series.residual_kwh)

    def added(values: FloatArray) -> float | None:
        return float(values[balanced].sum()) if balanced.any() else None

    residual, supply = added(series.residual_kwh), added(series.supply_kwh)
    missing = {key: float(width[~known].sum()) for key, known in series.child_known.items() if not known.all()}
    return BalanceTotal(
        measured_kwh=added(series.measured_kwh),
        children_kwh=added(series.children_kwh),
        residual_kwh=residual,
        supply_kwh=supply,
        residual_percent=_percent(residual, supply),
        coverage=float((width * series.coverage).sum()),
        children_coverage=float((width * series.children_coverage).sum()),
        estimated_kwh=added(series.estimated_kwh) or 0.0,
        balanced_share=float(width[balanced].sum()),
        bus_missing_share=float(width[~series.bus_known].sum()),
        missing=missing,
    )


def joined_total(parts: Sequence[BalanceTotal]) -> BalanceTotal:
    """Return the total of a window from those of its parts, the shares of which are all of that window."""

    def known(values: Iterable[float | None]) -> float | None:
        found = [value for value in values if value is not None]
        return sum(found) if found else None

    residual, supply = known(each.residual_kwh for each in parts), known(each.supply_kwh for each in parts)
    missing: dict[str, float] = {}
    for part in parts:
        for key, share in part.missing.items():
            missing[key] = missing.get(key, 0.0) + share
    return BalanceTotal(
        measured_kwh=known(each.measured_kwh for each in parts),
        children_kwh=known(each.children_kwh for each in parts),
        residual_kwh=residual,
        supply_kwh=supply,
        residual_percent=_percent(residual, supply),
        coverage=sum(each.coverage for each in parts),
        children_coverage=sum(each.children_coverage for each in parts),
        estimated_kwh=sum(each.estimated_kwh for each in parts),
        balanced_share=sum(each.balanced_share for each in parts),
        bus_missing_share=sum(each.bus_missing_share for each in parts),
        missing=missing,
    )


def _percent(residual: float | None, supply: float | None) -> float | None:
    return 100 * residual / supply if residual is not None and supply else None
