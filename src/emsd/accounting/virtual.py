"""Intervals of virtual meters: computed from those of their inputs, in the pass that changes these.

A virtual meter has no readings. Whatever minutes a pass writes of its inputs are computed again for it, a virtual meter
of virtual ones after them; so late data, replays and recomputations reach it in the same transaction. When its
expression is new or has changed, its past is computed too, a day a pass, the latest first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from graphlib import TopologicalSorter
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from emsd.energy.expressions import VirtualInput, combine
from emsd.energy.series import BUCKET_1M_US, BUCKET_15M_US, floor_us
from emsd.readings import instant_us, to_datetime
from emsd.store import intervals as table
from emsd.store.bucket_series import MinuteSeries, read_minutes
from emsd.store.pool import Session
from emsd.store.virtual_meters import VirtualRow, oldest_minute_us, read_virtual_meters, set_pending

__all__ = ["VirtualMeters", "levels", "virtual_minutes"]

_DAY_US: Final = 24 * 60 * BUCKET_1M_US
_CELLS_AT_ONCE: Final = 200_000
"""Minutes, of all inputs together, that are in memory at once: a day of a thousand inputs comes in eight parts."""


class VirtualMeters:
    """Keeps the intervals of virtual meters up to date; `after_pass` runs in the transaction of a pass."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self.written: Mapping[int, set[int]] = {}
        """Minutes [us] of virtual meters that the last pass has written or deleted."""

    def adopt(self, zone: ZoneInfo) -> None:
        """Go by this time zone from the next pass on; expressions are read from the database."""
        self._zone = zone

    async def after_pass(self, connection: Session, changed: Mapping[int, set[int]]) -> bool:
        """Compute again what depends on the minutes [us] that a pass has changed, by meter; True when some is left.

        Left are minutes of the past by an expression that is new; they are computed a part at each pass.
        """
        self.written = written = defaultdict[int, set[int]](set)
        virtual = await read_virtual_meters(connection)
        if not virtual:
            return False
        await self._carry(connection, virtual, changed, written)
        return await self._catch_up(connection, virtual, written)

    async def _carry(
        self,
        connection: Session,
        virtual: Sequence[VirtualRow],
        changed: Mapping[int, set[int]],
        written: dict[int, set[int]],
    ) -> None:
        """Compute all that depends on changed minutes [us], level by level, and add what that is to `written`."""
        touched: dict[int, set[int]] = {meter_id: set(minutes) for meter_id, minutes in changed.items()}
        for level in levels(virtual):
            wanted = {row: minutes for row in level if (minutes := _minutes_of(row, touched))}
            await self._compute(connection, wanted)
            for row, minutes in wanted.items():
                touched[row.meter_id] = minutes
                written[row.meter_id] |= minutes

    async def _catch_up(self, connection: Session, virtual: Sequence[VirtualRow], written: dict[int, set[int]]) -> bool:
        """Compute one more day of the past of the first virtual meter that lacks some, and all that depends on it."""
        pending = [row for level in levels(virtual) for row in level if row.pending_before is not None]
        if not pending:
            return False
        row = pending[0]
        before_us = instant_us(row.pending_before) if row.pending_before else 0
        # Its own rows count too: they may be older than any input of the new expression, and then have to go.
        oldest_us = await oldest_minute_us(connection, [row.meter_id, *row.factors])
        if oldest_us is None or oldest_us >= before_us:
            await set_pending(connection, row.meter_id, None)
            return len(pending) > 1
        from_us = max(oldest_us, before_us - _DAY_US)
        minutes = set(range(from_us, before_us, BUCKET_1M_US))
        await self._compute(connection, {row: minutes})
        written[row.meter_id] |= minutes
        await self._carry(connection, virtual, {row.meter_id: minutes}, written)
        await set_pending(connection, row.meter_id, from_us)
        return True

    async def _compute(self, connection: Session, wanted: Mapping[VirtualRow, set[int]]) -> None:
        """Compute and write the chosen minutes of virtual meters that do not depend on each other."""
        if not wanted:
            return
        all_us = np.array(sorted(set().union(*wanted.values())), dtype=np.int64)
        inputs = sorted({source for row in wanted for source in row.factors})
        at_once = max(1, _CELLS_AT_ONCE // len(inputs))
        for first in range(0, all_us.size, at_once):
            await self._compute_minutes(connection, wanted, inputs, all_us[first : first + at_once])

    async def _compute_minutes(
        self,
        connection: Session,
        wanted: Mapping[VirtualRow, set[int]],
        inputs: Sequence[int],
        minutes_us: NDArray[np.int64],
    ) -> None:
        series = await read_minutes(connection, inputs, minutes_us)
        present = set(minutes_us.tolist())
        rows = [
            virtual_minutes(row, series, minutes_us, minutes)
            for row, minutes in wanted.items()
            if not minutes.isdisjoint(present)
        ]
        await table.write_minutes(connection, rows)
        emptied = {
            (meter_id, floor_us(bucket_us, BUCKET_15M_US))
            for meter_id, bucket_us in await table.delete_unknown_minutes(connection, rows)
        }
        await table.delete_empty_quarters(connection, sorted(emptied))
        quarters = emptied | {
            (each.meter_id, quarter)
            for each in rows
            for quarter in np.unique(each.bucket_us - each.bucket_us % BUCKET_15M_US).tolist()
        }
        await table.build_quarters(connection, sorted(quarters))
        await table.mark_days(connection, {(meter_id, self._local_day(at_us)) for meter_id, at_us in quarters})

    def _local_day(self, time_us: int) -> date:
        return to_datetime(time_us).astimezone(self._zone).date()


def levels(virtual: Sequence[VirtualRow]) -> list[list[VirtualRow]]:
    """Return the virtual meters in levels, each after all that it is made of."""
    by_id = {row.meter_id: row for row in virtual}
    sorter = TopologicalSorter({row.meter_id: [each for each in row.factors if each in by_id] for row in virtual})
    sorter.prepare()
    found = []
    while sorter.is_active():
        ready = sorter.get_ready()
        found.append([by_id[each] for each in ready])
        sorter.done(*ready)
    return found


def _minutes_of(row: VirtualRow, touched: Mapping[int, set[int]]) -> set[int]:
    return set().union(*(touched.get(source, ()) for source in row.factors))


def virtual_minutes(
    row: VirtualRow, series: Mapping[int, MinuteSeries], minutes_us: NDArray[np.int64], wanted: set[int]
) -> table.MinuteRows:
    """Return what to store of a virtual meter; minutes in which no input is known stand among the unknown ones."""
    chosen = np.isin(minutes_us, np.fromiter(wanted, dtype=np.int64, count=len(wanted)))
    made = combine(
        [
            VirtualInput(
                factor=factor,
                net_kwh=series[source].net_kwh[chosen],
                estimated_kwh=series[source].estimated_kwh[chosen],
                coverage=series[source].coverage[chosen],
                power_avg_kw=series[source].power_avg_kw[chosen],
                flags=series[source].flags[chosen],
            )
            for source, factor in row.factors.items()
        ],
        row.missing,
        BUCKET_1M_US,
    )
    stored = made.known_inputs > 0
    times_us = minutes_us[chosen]
    net, estimated = made.net_kwh[stored], made.estimated_kwh[stored]
    nothing = np.full(net.size, np.nan)
    return table.MinuteRows(
        meter_id=row.meter_id,
        bucket_us=times_us[stored],
        energy_import_kwh=np.maximum(net, 0.0),
        energy_export_kwh=np.maximum(-net, 0.0),
        estimated_import_kwh=np.where(net >= 0, estimated, 0.0),
        estimated_export_kwh=np.where(net < 0, estimated, 0.0),
        power_min_kw=nothing,
        power_avg_kw=made.power_avg_kw[stored],
        power_max_kw=nothing,
        coverage=made.coverage[stored],
        sample_count=made.known_inputs[stored],
        flags=made.flags[stored],
        unknown_us=_stretches(times_us[~stored].tolist()),
    )


def _stretches(minutes_us: Iterable[int]) -> list[tuple[int, int]]:
    """Join ascending minutes into stretches [from, to) [us]."""
    stretches: list[tuple[int, int]] = []
    for minute in minutes_us:
        if stretches and stretches[-1][1] == minute:
            stretches[-1] = (stretches[-1][0], minute + BUCKET_1M_US)
        else:
            stretches.append((minute, minute + BUCKET_1M_US))
    return stretches
