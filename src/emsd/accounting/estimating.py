"""Estimates of long gaps, kept up to date behind accounting.

What a pass has changed marks the estimates that may concern it; a bounded number of meters is then worked off, the rest
in the passes after. An estimate is made anew from the gap's samples and the intervals around it, so it is a function of
the readings, whatever the order in which they came: late data makes it vanish, or gives it another shape or total.

    a gap closes, or data comes into one    its quarter hours are marked by `mark_due`
    data changes in a like day              the estimates that may rest on that day are, by the same
    a meter stays silent                    once an hour; estimated up to a day before now
    fewer than three like days              once an hour, until later days have made up for it
    the calendar says otherwise of a day    once an hour, and when a plant is adopted: see `calendar_days`
    what a virtual meter is made of         after it, the virtual meters themselves: see `virtual_estimates`
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np

from emsd.accounting.accounts import MeterAccount
from emsd.accounting.calendar_days import follow_calendar
from emsd.accounting.runs import READ_CONTEXT
from emsd.accounting.virtual_estimates import estimate_virtual
from emsd.energy.estimation import Gap, estimate, long_gaps
from emsd.energy.events import MeterEvent
from emsd.energy.like_days import (
    LIKE_DAYS,
    REACH_DAYS,
    ClassOf,
    class_of_weekday,
    like_day_table,
)
from emsd.energy.meters import MeterSamples, energy_of
from emsd.energy.series import BUCKET_1M_US, BUCKET_15M_US, ceil_us, floor_us
from emsd.readings import instant_us
from emsd.store import estimates as table
from emsd.store.estimate_inputs import read_quarters, read_usable
from emsd.store.meter_events import read_events
from emsd.store.pool import Session
from emsd.store.retention import read_horizons
from emsd.store.samples import SampleRows
from emsd.store.virtual_estimates import mark_changed_virtual, mark_dependent
from emsd.store.virtual_meters import read_virtual_meters

__all__ = ["Estimating"]

_METERS_PER_PASS: Final = 10
_LOOK_EVERY: Final = timedelta(hours=1)
_OPEN_AFTER: Final = timedelta(days=1)
"""A gap that has not ended is estimated where it is older than this: until then its data may come late."""
_REACH: Final = timedelta(days=REACH_DAYS + 1)
"""How far an estimate and its like days may be apart; a day more than local days, for their beginnings."""
_REACH_US: Final = _REACH // timedelta(microseconds=1)

Stretch: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Found:
    """The gaps of each direction in quarter hours [from_us, to_us), none of which reaches beyond."""

    from_us: int
    to_us: int
    gaps: Mapping[table.Direction, list[Gap]]


class Estimating:
    """Keeps estimate_15m up to date; call `after_pass` in the transaction of every pass of accounting.

    `virtual` says which minutes [us] of virtual meters, by meter, the same pass has written or deleted.
    """

    def __init__(
        self,
        accounts: Mapping[int, MeterAccount],
        zone: ZoneInfo,
        *,
        class_of: ClassOf = class_of_weekday,
        virtual: Callable[[], Mapping[int, set[int]]] = dict,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._now = now
        self._virtual = virtual
        self.adopt(accounts, zone, class_of=class_of)

    def adopt(
        self, accounts: Mapping[int, MeterAccount], zone: ZoneInfo, *, class_of: ClassOf = class_of_weekday
    ) -> None:
        """Go by these accounts and this calendar from the next pass on."""
        self._accounts = dict(accounts)
        self._zone = zone
        self._class_of = class_of
        self._look_at: datetime | None = None

    async def after_pass(self, connection: Session, changed: Mapping[int, set[int]]) -> bool:
        """Mark what a pass has changed and work off a part of what is marked; True when some is left.

        `changed` holds, for each meter, the minutes [us] whose rows were written or deleted, all of them: an estimate
        beside a minute that is not named is taken for still right.
        """
        now = self._now()
        ranges = [
            table.ChangedMinutes(_metered(self._accounts[meter_id]), *stretch)
            for meter_id, minutes in changed.items()
            if meter_id in self._accounts
            for stretch in _joined(minutes, BUCKET_1M_US)
        ]
        if ranges:
            await table.mark_due(connection, ranges, now=now, open_after=_OPEN_AFTER, reach=_REACH)
        await mark_changed_virtual(
            connection,
            [
                (meter_id, *stretch)
                for meter_id, minutes in self._virtual().items()
                for stretch in _joined(minutes, BUCKET_1M_US)
            ],
        )
        if self._look_at is None or now >= self._look_at:
            await self._look_around(connection, now)
            self._look_at = now + _LOOK_EVERY
        due = await table.take_due(connection, most_meters=_METERS_PER_PASS)
        more = await self._work_off(connection, due) if due else False
        return more or len(due) == _METERS_PER_PASS

    async def _work_off(self, connection: Session, due: Mapping[int, Sequence[int]]) -> bool:
        """Make what is due anew; True when virtual meters have become due by it."""
        horizons = await read_horizons(connection)
        sealed_before = horizons.sealed_before(self._zone)
        sealed_us = 0 if sealed_before is None else instant_us(sealed_before)
        raw_us = 0 if horizons.raw is None else instant_us(horizons.raw)
        virtual = {row.meter_id: row for row in await read_virtual_meters(connection)}
        more = False
        for meter_id, quarters_us in due.items():
            # What raw readings no longer tell stays as it was estimated.
            open_us = [each for each in quarters_us if each >= sealed_us]
            if account := self._accounts.get(meter_id):
                redone_us: Sequence[int] = await self._redo(connection, account, open_us, raw_us)
            elif row := virtual.get(meter_id):
                await estimate_virtual(connection, row, open_us)
                redone_us = open_us
            else:
                continue
            more |= await mark_dependent(connection, meter_id, redone_us)
        return more

    async def _look_around(self, connection: Session, now: datetime) -> None:
        """Mark what becomes due because time goes on."""
        metered = [_metered(account) for account in self._accounts.values()]
        meter_ids = [each.meter_id for each in metered]
        await table.mark_unsettled(connection, meter_ids, now - _REACH, enough_days=LIKE_DAYS)
        await table.mark_open(connection, metered, since=now - _REACH, until=now - _OPEN_AFTER)
        await follow_calendar(connection, meter_ids, self._class_of, self._zone, now=now, reach=_REACH)

    async def _redo(
        self, connection: Session, account: MeterAccount, buckets_us: Sequence[int], kept_from_us: int
    ) -> list[int]:
        """Make the estimates of quarter hours, and of the gaps that they lie in, anew; return all of those."""
        whole = await table.delete_whole(connection, _metered(account), buckets_us)
        events = (await read_events(connection, [account.meter_id])).get(account.meter_id, ())
        done: list[_Found] = []
        for from_us, to_us in _joined((each for each in buckets_us if each not in whole), BUCKET_15M_US):
            if any(each.from_us <= from_us and to_us <= each.to_us for each in done):
                continue  # a gap reaches over several marks, and is done as a whole
            found = await self._find(connection, account, events, (from_us, to_us), kept_from_us)
            await self._write(connection, account, found)
            done.append(found)
        redone = whole.union(*(range(each.from_us, each.to_us, BUCKET_15M_US) for each in done))
        return sorted(redone)

    async def _find(
        self,
        connection: Session,
        account: MeterAccount,
        events: Sequence[MeterEvent],
        stretch: Stretch,
        kept_from_us: int,
    ) -> _Found:
        """Return the gaps that touch a stretch, which is widened until none reaches beyond it."""
        from_us, to_us = stretch
        while True:
            rows = await read_usable(
                connection,
                account.meter_id,
                from_us,
                to_us,
                by_counter=account.by_counter,
                context=READ_CONTEXT,
                kept_from_us=kept_from_us,
            )
            gaps = {} if rows is None else self._gaps(account, events, rows, from_us, to_us)
            every = [gap for of_direction in gaps.values() for gap in of_direction]
            wide_from = min((floor_us(gap.start_us, BUCKET_15M_US) for gap in every), default=from_us)
            wide_to = max((ceil_us(gap.end_us, BUCKET_15M_US) for gap in every), default=to_us)
            if wide_from >= from_us and wide_to <= to_us:
                return _Found(from_us, to_us, gaps)
            from_us, to_us = min(from_us, wide_from), max(to_us, wide_to)

    def _gaps(
        self, account: MeterAccount, events: Sequence[MeterEvent], rows: SampleRows, from_us: int, to_us: int
    ) -> dict[table.Direction, list[Gap]]:
        """Return the long gaps of each direction that touch [from_us, to_us)."""
        samples = MeterSamples(
            rows.time_us,
            import_kwh=rows.import_kwh if account.has_import else None,
            export_kwh=rows.export_kwh if account.has_export else None,
            power_kw=rows.power_kw,
        )
        open_until_us = floor_us(instant_us(self._now() - _OPEN_AFTER), BUCKET_15M_US)
        gaps: dict[table.Direction, list[Gap]] = {}
        columns = (rows.import_kwh, rows.export_kwh) if account.by_counter else (rows.power_kw, rows.power_kw)
        found = energy_of(samples, account.rules, account.power_method, events)
        for direction, series, column in zip(table.DIRECTIONS, found, columns, strict=True):
            if series is None:
                continue
            usable_us = rows.time_us[np.isfinite(column)]
            until_us = None
            if series.end_us.size and usable_us[-1] < to_us:  # it is silent since
                until_us = min(open_until_us, int(series.end_us[-1]) + _REACH_US)
            gaps[direction] = [
                gap for gap in long_gaps(series, until_us=until_us) if gap.start_us <= to_us and gap.end_us >= from_us
            ]
        return gaps

    async def _write(self, connection: Session, account: MeterAccount, found: _Found) -> None:
        meter_id = account.meter_id
        near_us = (found.from_us - _REACH_US, found.to_us + _REACH_US)
        for direction, gaps in found.gaps.items():
            await table.delete_estimates(connection, meter_id, direction, found.from_us, found.to_us)
            if not gaps:
                continue
            rows = await read_quarters(connection, meter_id, direction, *near_us)
            days = like_day_table(
                rows.bucket_us,
                rows.energy_kwh,
                rows.estimated_kwh,
                rows.coverage,
                self._zone,
                self._class_of,
                from_us=near_us[0],
                to_us=near_us[1],
            )
            await table.write_estimates(connection, meter_id, direction, estimate(gaps, days, self._zone))


def _metered(account: MeterAccount) -> table.Metered:
    by_power = not account.by_counter
    return table.Metered(account.meter_id, account.has_import or by_power, account.has_export or by_power)


def _joined(times_us: Iterable[int], width_us: int) -> list[Stretch]:
    """Join buckets of one width that follow each other into stretches [from, to) [us]."""
    stretches: list[Stretch] = []
    for time_us in sorted(times_us):
        if stretches and time_us <= stretches[-1][1]:
            stretches[-1] = (stretches[-1][0], time_us + width_us)
        else:
            stretches.append((time_us, time_us + width_us))
    return stretches
