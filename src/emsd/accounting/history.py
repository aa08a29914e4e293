"""A history that was never measured, written straight into the tiers, a few days a transaction.

Each transaction is the only accounting of the database while it lasts. It leaves alone what stands there, unless told
otherwise, writes what is missing with its marks, and what it has done into the ledger; so it may be cut off and called
again, and readings that come later for one of its quarter hours replace it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import pairwise
from typing import Final

import numpy as np

from emsd.accounting.accounts import accounts_of
from emsd.accounting.given import (
    ENERGY_SAMPLES,
    GivenSamples,
    Shown,
    gauge_quarters,
    minutes_of,
    quarters_of,
    sample_times,
    step_s,
    virtual_minutes_of,
)
from emsd.accounting.kpi_samples import compute_input
from emsd.accounting.versions import VersionBook
from emsd.energy.kpi import STORED_INPUTS, Parts
from emsd.energy.series import BUCKET_15M_US, FloatArray, TimeArray
from emsd.energy.windows import local_day_bounds
from emsd.errors import SettingsError
from emsd.plant.kpi import kpis_of_plant
from emsd.plant.loader import LoadedPlant
from emsd.readings import instant_us, to_datetime
from emsd.store import gauges as gauge_table
from emsd.store import intervals as table
from emsd.store import simulated_history as ledger
from emsd.store.kpi import asset_ids
from emsd.store.pool import Pool, Session, session
from emsd.store.retention import read_horizons
from emsd.store.virtual_meters import VirtualRow, read_virtual_meters

__all__ = ["NEEDED_GAUGES", "Wish", "Written", "write_history"]

NEEDED_GAUGES: Final = frozenset({"reactive_power_kvar"})
"""Gauges whose quarter hours are read: for want of readings, they stand in for counters of reactive energy."""

_DAY_US: Final = 96 * BUCKET_15M_US
_ROWS_PER_PORTION: Final = 60_000
_DAYS_PER_PORTION: Final = 14
_DAYS_AT_ONCE: Final = 2_000


@dataclass(frozen=True, slots=True)
class Wish:
    """What history is wanted: quarter hours [from_us, to_us) of a plant.

    shown   what the meters would have shown
    meters  keys of those that get a history; None: all
    gauges  those that get their quarter hours, of the meters that have them
    seed    of the simulation, for the ledger
    """

    loaded: LoadedPlant
    meter_ids: Mapping[str, int]
    from_us: int
    to_us: int
    shown: Shown
    seed: int
    author: str
    meters: frozenset[str] | None = None
    replace: ledger.Replace = "nothing"
    gauges: frozenset[str] = NEEDED_GAUGES


@dataclass(slots=True)
class Written:
    """Rows written so far, by tier, and the quarter hours of energy that were left as they were."""

    quarter_hours: int = 0
    gauge_quarters: int = 0
    asset_quarters: int = 0
    left_alone: int = 0
    days: int = 0


@dataclass(slots=True)
class _Made:
    """What some days of all meters hold."""

    quarters: list[ledger.QuarterRows] = field(default_factory=list)
    gauges: list[ledger.GaugeQuarters] = field(default_factory=list)
    assets: list[tuple[int, TimeArray, dict[str, Parts]]] = field(default_factory=list)


async def write_history(pool: Pool, wish: Wish, report: Callable[[float], None]) -> Written:
    """Write the history, oldest first; `report` is given the share done [0..1] after each portion.

    Raises:
        SettingsError: the time is no full quarter hours, or retention would drop what is written.
        StoreError: the portions before are written, and calling again goes on there.
    """
    await _check(pool, wish)
    writer = await _Writer.open(pool, wish)
    total_us = wish.to_us - wish.from_us
    begin_us = wish.from_us
    while begin_us < wish.to_us:
        end_us = min(begin_us - begin_us % _DAY_US + writer.days_per_portion * _DAY_US, wish.to_us)
        await writer.write(begin_us, end_us)
        begin_us = end_us
        report((begin_us - wish.from_us) / total_us)
    await writer.build_days()
    return writer.written


async def _check(pool: Pool, wish: Wish) -> None:
    if wish.from_us % BUCKET_15M_US or wish.to_us % BUCKET_15M_US or wish.from_us >= wish.to_us:
        raise SettingsError(
            f"history from {to_datetime(wish.from_us)} to {to_datetime(wish.to_us)} is no time between two full "
            "quarter hours; let it begin and end with some"
        )
    async with session(pool, "look how long quarter hours are kept") as connection:
        kept_from = (await read_horizons(connection)).quarters
    if kept_from is not None and wish.from_us < instant_us(kept_from):
        raise SettingsError(
            f"retention has dropped quarter hours before {kept_from.isoformat()}, and would drop this history too; "
            "let it begin later, or keep more"
        )


class _Writer:
    def __init__(self, pool: Pool, wish: Wish) -> None:
        self._pool = pool
        self._wish = wish
        chosen = wish.meter_ids.keys() if wish.meters is None else wish.meters
        self._meter_ids = {key: number for key, number in wish.meter_ids.items() if key in chosen}
        self._accounts = accounts_of(wish.loaded, wish.meter_ids)
        self._kpis = {key: each for key, each in kpis_of_plant(wish.loaded).items() if each.sources}
        self._gauges = wish.gauges & gauge_table.TIERED_GAUGES
        self._virtual: list[VirtualRow] = []
        self._asset_ids: Mapping[str, int] = {}
        self._quantity_ids: Mapping[str, int] = {}
        self._kpi_quantities: defaultdict[str, set[str]] = defaultdict(set)
        for kpi in self._kpis.values():
            for part in (part for source in kpi.sources.values() for part in source.parts):
                self._kpi_quantities[part.meter].add(part.quantity)
        self._every_s = step_s(wish.loaded)
        self.days_per_portion = max(1, min(_DAYS_PER_PORTION, _ROWS_PER_PORTION // (96 * max(1, len(self._accounts)))))
        self.written = Written()

    @classmethod
    async def open(cls, pool: Pool, wish: Wish) -> _Writer:
        writer = cls(pool, wish)
        async with session(pool, "read what the plant is made of") as connection:
            writer._asset_ids = await asset_ids(connection, wish.loaded.plant.site.number)
            writer._quantity_ids = await gauge_table.quantity_ids(connection)
            writer._virtual = [row for row in await read_virtual_meters(connection) if writer._is_of_site(row.meter_id)]
        return writer

    @property
    def _numbers(self) -> list[int]:
        return [*self._meter_ids.values(), *(row.meter_id for row in self._virtual)]

    def _is_of_site(self, meter_id: int) -> bool:
        # Numbers of meters are the site's number times a million and more.
        return meter_id // 1_000_000 == self._wish.loaded.plant.site.number

    async def write(self, begin_us: int, end_us: int) -> None:
        """Compute the quarter hours of some days and write those that are missing, in one transaction."""
        made = _Made()
        edges = [begin_us, *range(begin_us - begin_us % _DAY_US + _DAY_US, end_us, _DAY_US), end_us]
        for first_us, last_us in pairwise(edges):
            await self._make(first_us, last_us, made)
        async with session(self._pool, "write simulated history") as connection, connection.transaction():
            await table.lead_accounting(connection, wait=True)
            await self._store(connection, begin_us, end_us, made)

    async def _make(self, from_us: int, to_us: int, made: _Made) -> None:
        """Compute a day, or part of one, of all meters."""
        wish = self._wish
        times_us = sample_times(from_us, to_us, self._every_s)
        kept: dict[str, dict[str, FloatArray]] = {}
        minutes: dict[int, table.MinuteRows] = {}
        for key, meter_id in self._meter_ids.items():
            of_kpis, energy = self._kpi_quantities[key], ENERGY_SAMPLES if meter_id in self._accounts else ()
            shown = wish.shown(key, times_us, {*energy, *of_kpis, *self._gauges})
            kept[key] = {name: shown[name] for name in of_kpis & shown.keys()}
            if meter_id in self._accounts:
                minutes[meter_id] = minutes_of(self._accounts[meter_id], times_us, shown, from_us, to_us)
            made.gauges += [
                gauge_quarters(meter_id, self._quantity_ids[name], name, times_us, shown[name], from_us, to_us)
                for name in sorted(self._gauges & shown.keys())
            ]
        minutes |= virtual_minutes_of(self._virtual, minutes, from_us, to_us) if self._virtual else {}
        made.quarters += [quarters_of(rows) for rows in minutes.values()]
        edges_us = np.arange(from_us, to_us + 1, BUCKET_15M_US, dtype=np.int64)
        samples = GivenSamples(wish.loaded, times_us, edges_us, self._every_s, kept)
        for key, kpi in self._kpis.items():
            inputs = {
                name: await compute_input(samples, source, kpi.facts)
                for name, source in kpi.sources.items()
                if name in STORED_INPUTS
            }
            if inputs and key in self._asset_ids:
                made.assets.append((self._asset_ids[key], edges_us[:-1], inputs))

    async def _store(self, connection: Session, begin_us: int, end_us: int, made: _Made) -> None:
        wish, from_, to = self._wish, to_datetime(begin_us), to_datetime(end_us)
        site_id = wish.loaded.plant.site.number
        room = await ledger.make_room(connection, self._numbers, from_, to, wish.replace)
        quarters = await self._store_quarters(connection, room, made)
        gauges = await self._store_gauges(connection, room, (from_, to), made)
        assets = await self._store_assets(connection, from_, to, made)
        meters = {each.meter_id for each in made.quarters} | {each.meter_id for each in made.gauges}
        if quarters or gauges or assets:
            entry = ledger.Entry(
                site_id, from_, to, sorted(meters), wish.seed, wish.replace, wish.author, quarters, gauges, assets
            )
            await ledger.record(connection, entry)
        self.written.quarter_hours += quarters
        self.written.gauge_quarters += gauges
        self.written.asset_quarters += assets

    async def _store_quarters(self, connection: Session, room: ledger.Room, made: _Made) -> int:
        free = [each.chosen(room.free(each.meter_id, each.bucket_us, beside_simulated=False)) for each in made.quarters]
        self.written.left_alone += sum(each.bucket_us.size for each in made.quarters)
        self.written.left_alone -= sum(each.bucket_us.size for each in free)
        versions = await VersionBook(self._accounts).of(connection, {each.meter_id for each in free})
        written = await ledger.write_quarters(connection, free, versions)
        await table.mark_days(connection, _days_of(free, self._wish.loaded))
        return written

    async def _store_gauges(
        self, connection: Session, room: ledger.Room, span: tuple[datetime, datetime], made: _Made
    ) -> int:
        meter_ids = sorted({each.meter_id for each in made.gauges})
        if not meter_ids:
            return 0
        site_id = self._wish.loaded.plant.site.number
        taken = await ledger.gauge_quarters_taken(connection, site_id, meter_ids, *span, self._wish.replace)
        nothing = np.array([], dtype=np.int64)
        free = [
            each.chosen(
                room.free(each.meter_id, each.bucket_us, beside_simulated=True)
                & ~np.isin(each.bucket_us, taken.get((each.meter_id, each.quantity_id), nothing))
            )
            for each in made.gauges
        ]
        written = await ledger.write_gauge_quarters(connection, free)
        await gauge_table.mark_gauge_days(connection, _days_of(free, self._wish.loaded))
        return written

    async def _store_assets(self, connection: Session, from_: datetime, to: datetime, made: _Made) -> int:
        site_id = self._wish.loaded.plant.site.number
        ids = sorted({asset_id for asset_id, _, _ in made.assets})
        taken = await ledger.asset_quarters_taken(connection, site_id, ids, from_, to, self._wish.replace)
        written = 0
        for asset_id, buckets_us, inputs in made.assets:
            free = ~np.isin(buckets_us, taken.get(asset_id, np.array([], dtype=np.int64)))
            chosen = {name: Parts(parts.value[free], parts.coverage[free]) for name, parts in inputs.items()}
            written += await ledger.write_asset_quarters(connection, asset_id, buckets_us[free], chosen)
        return written

    async def build_days(self) -> None:
        """Build the local days that are marked; an accounting that is running may do some of them."""
        zone = self._wish.loaded.plant.site.zone
        last = to_datetime(self._wish.to_us).astimezone(zone).date()
        more = True
        while more:
            async with session(self._pool, "build local days") as connection, connection.transaction():
                await table.lead_accounting(connection, wait=True)
                days = await table.read_dirty_days(connection, last=last, most=_DAYS_AT_ONCE)
                await table.build_days(connection, [(m, day, *local_day_bounds(day, zone)) for m, day in days])
                of_gauges = await gauge_table.read_gauge_days(connection, last=last, most=_DAYS_AT_ONCE)
                wanted = [(m, day, *local_day_bounds(day, zone)) for m, day in of_gauges]
                await gauge_table.build_gauge_days(connection, wanted)
            self.written.days += len(days)
            more = _DAYS_AT_ONCE in {len(days), len(of_gauges)}


def _days_of(
    rows: Sequence[ledger.QuarterRows] | Sequence[ledger.GaugeQuarters], loaded: LoadedPlant
) -> set[tuple[int, date]]:
    """Return the local days that rows lie in."""
    zone = loaded.plant.site.zone
    found: set[tuple[int, date]] = set()
    by_us: dict[int, date] = {}
    for each in rows:
        for quarter_us in each.bucket_us.tolist():
            day = by_us.get(quarter_us)
            if day is None:
                day = by_us[quarter_us] = to_datetime(quarter_us).astimezone(zone).date()
            found.add((each.meter_id, day))
    return found
