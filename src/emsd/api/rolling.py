"""From a scope to the figures of its rolling windows: the plant, the intervals, the factors."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from emsd.api.dependencies import ApiDependencies, Configuration
from emsd.energy.rollup import CarbonBasis, RollingWindow, ScopeSums, plan_rollup, roll_up
from emsd.energy.windows import Segment, Tier, WindowName, settled_minute
from emsd.store.pool import Pool
from emsd.store.rolling import read_rolling_sums
from emsd.store.scopes import ScopeKind, ScopeMeters, meters_of_scope

__all__ = ["RollingAnswer", "SumsCache", "rolling_answer"]

_PAST: Final = timedelta(minutes=30)

Atoms: TypeAlias = Mapping[Tier, Sequence[Segment]]


@dataclass(frozen=True, slots=True)
class RollingAnswer:
    """The windows of one scope, and the keys of the meters behind them."""

    scope: ScopeKind
    key: str | None
    time_zone: str
    meters: list[str]
    generation_meters: list[str]
    basis: CarbonBasis
    windows: list[RollingWindow]


class SumsCache:
    """Sums of the past, kept for `age_s` [s]; what ended in the last half hour is always read.

    A thousand meters side by side have a hundred thousand quarter hours in a day that hardly ever change, and every
    window needs them again.
    """

    def __init__(self, pool: Pool, age_s: float) -> None:
        self._pool = pool
        self._age_s = age_s
        self._kept: dict[ScopeMeters, dict[Segment, tuple[float, ScopeSums]]] = {}

    async def sums(
        self, atoms: Atoms, meters: ScopeMeters, to: datetime, *, energy_meter_count: int
    ) -> dict[Segment, ScopeSums]:
        """Return the sums of every atom over the meters; `to` is the end of the windows.

        Raises:
            StoreUnavailable: the database cannot be reached now.
        """
        now_s = time.monotonic()
        self._forget(before_s=now_s - self._age_s)
        kept = self._kept.get(meters, {})
        known = {atom: kept[atom][1] for of_tier in atoms.values() for atom in of_tier if atom in kept}
        missing = {tier: [atom for atom in of_tier if atom not in known] for tier, of_tier in atoms.items()}
        read = await read_rolling_sums(
            self._pool,
            missing,
            top_meter_ids=meters.top,
            generation_meter_ids=meters.generation,
            energy_meter_count=energy_meter_count,
        )
        past = {atom: (now_s, sums) for atom, sums in read.items() if atom.to <= to - _PAST}
        if past:
            self._kept.setdefault(meters, {}).update(past)
        return known | read

    def _forget(self, *, before_s: float) -> None:
        for meters, kept in list(self._kept.items()):
            for atom in [atom for atom, (read_s, _) in kept.items() if read_s <= before_s]:
                del kept[atom]
            if not kept:
                del self._kept[meters]


async def rolling_answer(
    given: ApiDependencies,
    cache: SumsCache,
    configuration: Configuration,
    scope: ScopeKind,
    key: str | None,
    names: Sequence[WindowName],
) -> RollingAnswer:
    """Return the named windows of a scope, ending at the last settled minute.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    plant = configuration.plant
    meters = meters_of_scope(plant, scope, key)
    factors = configuration.location
    to = settled_minute(given.now(), given.settle_s)
    plan = plan_rollup(names, to, plant.zone, factors)
    sums = await cache.sums(plan.atoms, meters, to, energy_meter_count=len(plant.energy_meter_ids))
    basis: CarbonBasis = "grid_import" if scope == "site" else "consumption"
    windows = roll_up(
        plan,
        sums,
        top_count=len(meters.top),
        generation_count=len(meters.generation),
        factors=factors,
        basis=basis,
    )
    return RollingAnswer(
        scope=scope,
        key=key,
        time_zone=plant.site.time_zone,
        meters=[plant.meters[each].key for each in meters.top],
        generation_meters=[plant.meters[each].key for each in meters.generation],
        basis=basis,
        windows=windows,
    )
