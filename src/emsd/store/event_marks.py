"""Mark what a change of a meter's events makes out of date.

A swap, a reset, a manual reading change the stretches from the last usable sample before to the first after, and how up
to CONTEXT_SAMPLES after it are judged; a changed ratio changes everything from there on to the next one. Nothing is
marked where there is nothing to compute: "from the year 2000 on" is no reason for ten million marks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Final

from emsd.energy.counters import CONTEXT_SAMPLES
from emsd.energy.events import EventKind, MeterEvent
from emsd.readings import instant_us, to_datetime
from emsd.store.pool import Session

__all__ = ["mark_changes"]

_NEAR_ROWS: Final = 100_000
"""How many rows are asked for a sample of a counter that may have none: a day at one a second, a year at one in five
minutes."""

_BOUNDS: Final = """
WITH before AS MATERIALIZED (
    SELECT time, energy_import_kwh, energy_export_kwh, active_power_kw FROM reading
    WHERE meter_id = $1 AND time < $2 ORDER BY time DESC LIMIT $4
), after AS MATERIALIZED (
    SELECT time, energy_import_kwh, energy_export_kwh, active_power_kw FROM reading
    WHERE meter_id = $1 AND time >= $3 ORDER BY time LIMIT $4
)
SELECT least($2,
    (SELECT max(time) FROM before WHERE energy_import_kwh IS NOT NULL),
    (SELECT max(time) FROM before WHERE energy_export_kwh IS NOT NULL),
    (SELECT max(time) FROM before WHERE active_power_kw IS NOT NULL)
) AS first, greatest($3,
    (SELECT max(time) FROM (SELECT time FROM after WHERE energy_import_kwh IS NOT NULL ORDER BY time LIMIT $5) AS a),
    (SELECT max(time) FROM (SELECT time FROM after WHERE energy_export_kwh IS NOT NULL ORDER BY time LIMIT $5) AS b),
    (SELECT max(time) FROM (SELECT time FROM after WHERE active_power_kw IS NOT NULL ORDER BY time LIMIT $5) AS c)
) AS last
"""
_EXTENT: Final = """
SELECT (SELECT time FROM reading WHERE meter_id = $1 ORDER BY time LIMIT 1) AS oldest,
    (SELECT time FROM reading WHERE meter_id = $1 ORDER BY time DESC LIMIT 1) AS newest,
    (SELECT kept_from FROM retention_horizon WHERE tier = 'raw') AS kept_from
"""
_FOR_EVER_US: Final = instant_us(datetime(2999, 1, 1, tzinfo=UTC))
_MARK: Final = """
INSERT INTO dirty_interval (bucket, meter_ids)
SELECT bucket, ARRAY[$1::integer]
FROM generate_series(time_bucket('1 minute', $2::timestamptz), $3::timestamptz, INTERVAL '1 minute') AS bucket
"""


async def mark_changes(
    connection: Session,
    before: Mapping[int, Collection[MeterEvent]],
    after: Mapping[int, Collection[MeterEvent]],
) -> None:
    """Mark the minutes of every meter whose events that count are others than before, in the caller's transaction."""
    for meter_id in before.keys() | after.keys():
        old, new = set(before.get(meter_id, ())), set(after.get(meter_id, ()))
        extent = await _extent(connection, meter_id, old | new)
        if extent is None:
            continue
        ratios_us = sorted({each.at_us for each in old | new if each.kind is EventKind.CT_RATIO})
        for event in old ^ new:
            first, last = await _reach(connection, meter_id, event, ratios_us)
            first, last = max(first, extent[0]), min(last, extent[1])
            if first <= last:
                await connection.execute(_MARK, meter_id, first, last)


async def _extent(
    connection: Session, meter_id: int, events: Collection[MeterEvent]
) -> tuple[datetime, datetime] | None:
    """Return between which instants there is something to compute: readings, or what people read; None: nowhere."""
    oldest, newest, kept_from = await connection.fetchrow(_EXTENT, meter_id) or (None, None, None)
    times = [
        to_datetime(at_us) for each in events if each.cuts or each.reading for at_us in (each.at_us, each.boundary_us)
    ]
    times += [each for each in (oldest, newest) if each is not None]
    if not times:
        return None
    return max(min(times), kept_from or min(times)), max(times)


async def _reach(
    connection: Session, meter_id: int, event: MeterEvent, ratios_us: Collection[int]
) -> tuple[datetime, datetime]:
    """Return the first and the last instant whose minute depends on an event."""
    ends_us = event.until_us or event.boundary_us
    if event.kind is EventKind.CT_RATIO:
        ends = to_datetime(min((at_us for at_us in ratios_us if at_us > event.at_us), default=_FOR_EVER_US))
    else:
        ends = to_datetime(max(event.at_us, ends_us))
    begins = to_datetime(min(event.at_us, event.boundary_us))
    ((first, last),) = await connection.fetch(_BOUNDS, meter_id, begins, ends, _NEAR_ROWS, CONTEXT_SAMPLES)
    return first, last
