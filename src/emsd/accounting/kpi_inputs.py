"""The loop that turns readings into the inputs of key figures, asset by asset and quarter hour by quarter hour.

A quarter hour is computed when it has ended and the readings after it that still concern it are in, and again whenever
readings of it come late: accounting leaves a mark for every asset whose meters it has accounted for. What a row holds
is a pure function of the raw readings and the plant, whatever the order in which they came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from emsd.accounting.kpi_samples import Samples, compute_input, reach_s
from emsd.energy.kpi import STORED_INPUTS, Parts
from emsd.energy.series import BUCKET_15M_US, TimeArray
from emsd.errors import StoreError
from emsd.plant.kpi import AssetKpis, kpis_of_plant
from emsd.plant.loader import LoadedPlant
from emsd.readings import to_datetime
from emsd.store import kpi_inputs as table
from emsd.store.kpi import asset_ids
from emsd.store.pool import Pool, Session, session
from emsd.store.retention import Horizons, read_horizons

__all__ = ["KpiInputs", "KpiInputsStats"]

_log = structlog.get_logger(__name__)

_MARKS_PER_PASS: Final = 2_000
_QUARTERS_PER_RUN: Final = 96
"""Quarter hours computed in one transaction; at a reading every second they are 86,400 rows."""
_LARGEST_SHARE: Final = 0.1
"""Share of the process's time that it may take while it follows the clock."""


@dataclass(slots=True)
class KpiInputsStats:
    """Running totals since the start."""

    passes: int = 0
    failures: int = 0
    quarters_written: int = 0
    quarters_sealed: int = 0
    """Marked, but left as they were: retention has dropped readings that they were made of."""
    busy_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Run:
    """Successive marked quarter hours of one asset."""

    asset_id: int
    marks: tuple[table.AssetMark, ...]

    @property
    def edges_us(self) -> NDArray[np.int64]:
        first = self.marks[0].bucket_us
        return first + BUCKET_15M_US * np.arange(len(self.marks) + 1, dtype=np.int64)


class KpiInputs:
    """Keeps table asset_15m up to date; not reentrant."""

    def __init__(
        self,
        pool: Pool,
        loaded: LoadedPlant,
        meter_ids: Mapping[str, int],
        *,
        interval_s: float = 20.0,
        settle_s: float = 15.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._pool = pool
        self._interval_s = interval_s
        self._settle = timedelta(seconds=settle_s)
        self._now = now
        self._asset_ids: dict[int, str] | None = None
        self.stats = KpiInputsStats()
        self.adopt(loaded, meter_ids)

    def adopt(self, loaded: LoadedPlant, meter_ids: Mapping[str, int]) -> None:
        """Go by this plant from the next pass on."""
        self._loaded = loaded
        self._meter_ids = dict(meter_ids)
        self._assets = kpis_of_plant(loaded)
        self._asset_ids = None

    async def run(self) -> None:
        """Run passes until cancelled; a database that is away is tried again at the next pass."""
        while True:
            began_s = time.monotonic()
            backlog = False
            try:
                backlog = await self.run_once()
            except StoreError as error:
                self.stats.failures += 1
                _log.warning("kpi_inputs_failed", reason=str(error))
            busy_s = time.monotonic() - began_s
            self.stats.busy_s += busy_s
            rest_s = busy_s / _LARGEST_SHARE - busy_s
            await asyncio.sleep(rest_s if backlog else max(self._interval_s, rest_s))

    async def run_until_clean(self) -> None:
        """Run passes until no quarter hour that has ended is marked.

        Raises:
            StoreError: what earlier passes did is committed.
        """
        while await self.run_once():
            pass

    async def run_once(self) -> bool:
        """Carry out one pass; True when there is more to do.

        Raises:
            StoreError: the marks of what was not written are still there.
        """
        async with session(self._pool, "compute the inputs of key figures") as connection:
            if self._asset_ids is None:
                ids = await asset_ids(connection, self._loaded.plant.site.number)
                self._asset_ids = {ids[key]: key for key in self._assets if key in ids}
            settled = self._now() - self._settle
            before = {each: settled - self._reach(self._assets[key]) for each, key in self._asset_ids.items()}
            marks = await table.read_marks(connection, before, most=_MARKS_PER_PASS)
            horizons = await read_horizons(connection)
            sealed = {mark for mark in marks if self._is_sealed(mark, horizons)}
            async with connection.transaction():
                await table.clear_marks(connection, list(sealed))
            self.stats.quarters_sealed += len(sealed)
            for run in _runs([mark for mark in marks if mark not in sealed]):
                async with connection.transaction():
                    if not await table.lead_kpi_inputs(connection):
                        return False
                    key = self._asset_ids[run.asset_id]
                    inputs = await self._compute(connection, self._assets[key], run.edges_us)
                    self.stats.quarters_written += await table.write_asset_quarters(
                        connection, run.asset_id, run.edges_us[:-1], inputs
                    )
                    await table.clear_marks(connection, run.marks)
        self.stats.passes += 1
        return len(marks) == _MARKS_PER_PASS

    def _is_sealed(self, mark: table.AssetMark, horizons: Horizons) -> bool:
        """Say whether retention has dropped readings that concern a quarter hour, or the quarter hour itself."""
        key = (self._asset_ids or {})[mark.asset_id]
        bucket = to_datetime(mark.bucket_us)
        return (horizons.raw is not None and bucket - self._reach(self._assets[key]) < horizons.raw) or (
            horizons.quarters is not None and bucket < horizons.quarters
        )

    def _reach(self, asset: AssetKpis) -> timedelta:
        """Return how long after a quarter hour its readings may still concern it: any earlier would be too early."""
        meters = {part.meter for source in asset.sources.values() for part in source.parts}
        return timedelta(seconds=max((reach_s(self._loaded.meters_by_key[key]) for key in meters), default=0.0))

    async def _compute(self, connection: Session, asset: AssetKpis, edges_us: TimeArray) -> dict[str, Parts]:
        samples = Samples(connection, self._loaded, self._meter_ids, edges_us)
        return {
            name: await compute_input(samples, source, asset.facts)
            for name, source in asset.sources.items()
            if name in STORED_INPUTS
        }


def _runs(marks: Sequence[table.AssetMark]) -> Iterator[_Run]:
    """Yield the marks as runs of successive quarter hours of one asset each, the newest first."""
    by_asset: dict[int, list[table.AssetMark]] = {}
    for mark in marks:
        by_asset.setdefault(mark.asset_id, []).append(mark)
    runs: list[_Run] = []
    for asset_id, own in by_asset.items():
        own.sort(key=lambda mark: mark.bucket_us)
        begin = 0
        for place in range(1, len(own) + 1):
            ends = place == len(own) or own[place].bucket_us != own[place - 1].bucket_us + BUCKET_15M_US
            if ends or place - begin == _QUARTERS_PER_RUN:
                runs.append(_Run(asset_id, tuple(own[begin:place])))
                begin = place
    yield from sorted(runs, key=lambda run: run.marks[-1].bucket_us, reverse=True)
