"""Tiers of process gauges: which gauges each meter has, and the pass that builds what is marked.

Energy needs the readings around a minute; a gauge's quarter hour needs its own readings only. So it is built once, when
it is over, and again for whatever comes late, all of it in the database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from emsd.energy.series import BUCKET_15M_US
from emsd.energy.windows import local_day_bounds
from emsd.plant.loader import LoadedPlant
from emsd.readings import to_datetime
from emsd.store import gauges as table
from emsd.store.pool import Session

__all__ = ["GaugeTiers", "gauges_of"]

_QUARTERS_PER_PASS: Final = 400
"""Most meter quarter hours of one pass: 360,000 readings of a meter that is polled every second, half a second."""
_DAYS_PER_PASS: Final = 1_000


def gauges_of(loaded: LoadedPlant, meter_ids: Mapping[str, int]) -> dict[int, tuple[str, ...]]:
    """Return which gauges with tiers each meter of the plant has by its profile, by meter id."""
    found = {}
    for meter in loaded.plant.meters:
        names = set(loaded.profile_of(meter).quantities) & table.TIERED_GAUGES
        if names:
            found[meter_ids[meter.key]] = tuple(sorted(names))
    return found


class GaugeTiers:
    """Builds gauge_15m and gauge_1d of the meters in `gauges`; forget it when its transaction rolls back.

    `gauges` None: it is not known here which gauges meters have, so what changes is only marked.
    """

    def __init__(self, gauges: Mapping[int, tuple[str, ...]] | None, zone: ZoneInfo) -> None:
        self._gauges = gauges
        self._zone = zone
        self._ids: Mapping[str, int] = {}

    async def mark(self, connection: Session, minutes: Mapping[int, Iterable[int]]) -> None:
        """Mark the quarter hours of minutes [us] of each meter."""
        await table.mark_gauges(
            connection,
            {
                (meter_id, minute_us - minute_us % BUCKET_15M_US)
                for meter_id, buckets in minutes.items()
                if self._gauges is None or meter_id in self._gauges
                for minute_us in buckets
            },
        )

    async def mark_range(
        self, connection: Session, meter_ids: Iterable[int] | None, from_: datetime, to: datetime
    ) -> None:
        """Mark all quarter hours of some meters, None: of all, that begin in [from_, to)."""
        known = self._gauges or {}
        asked = [each for each in (known if meter_ids is None else meter_ids) if each in known]
        await table.mark_gauge_range(connection, asked, from_, to)

    async def build(self, connection: Session, ended_by: datetime, sealed_before_us: int) -> tuple[int, bool]:
        """Build marked quarter hours that were over by `ended_by`, and past days; return how many, and if more wait.

        Marks of what is sealed, or of a meter without gauges, are dropped.
        """
        if self._gauges is None:
            return 0, False
        marks = await table.read_gauge_marks(connection, ended_by=ended_by, most=_QUARTERS_PER_PASS)
        alike: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
        for meter_id, quarter_us in marks:
            if quarter_us >= sealed_before_us and meter_id in self._gauges:
                alike[self._gauges[meter_id]].append((meter_id, quarter_us))
        if alike and not self._ids:
            self._ids = await table.quantity_ids(connection)
        for names, quarters in alike.items():
            await table.build_gauge_quarters(connection, quarters, names, self._ids)
            await table.mark_gauge_days(connection, {(each, self._day(at_us)) for each, at_us in quarters})
        if marks:
            await table.drop_gauge_marks(connection, marks)
        days = await self._build_days(connection, ended_by)
        return sum(map(len, alike.values())), len(marks) == _QUARTERS_PER_PASS or days == _DAYS_PER_PASS

    async def _build_days(self, connection: Session, ended_by: datetime) -> int:
        yesterday = ended_by.astimezone(self._zone).date() - timedelta(days=1)
        days = await table.read_gauge_days(connection, last=yesterday, most=_DAYS_PER_PASS)
        await table.build_gauge_days(
            connection, [(meter_id, day, *local_day_bounds(day, self._zone)) for meter_id, day in days]
        )
        return len(days)

    def _day(self, time_us: int) -> date:
        return to_datetime(time_us).astimezone(self._zone).date()
