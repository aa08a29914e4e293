"""What estimates of long gaps are made of: usable samples around the gaps, and quarter hours of like days."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emsd.readings import to_datetime
from emsd.store.estimates import Direction
from emsd.store.pool import Session
from emsd.store.samples import SampleRows

__all__ = ["QuarterRows", "read_quarters", "read_usable"]


@dataclass(frozen=True, slots=True, eq=False)
class QuarterRows:
    """Rows of interval_15m of one meter in one direction, in order of time, each [k]; NaN where NULL."""

    bucket_us: NDArray[np.int64]
    energy_kwh: NDArray[np.float64]
    estimated_kwh: NDArray[np.float64]
    coverage: NDArray[np.float64]


_READ_QUARTERS: Final = """
SELECT array_agg((extract(epoch FROM bucket) * 1000000)::bigint) AS bucket_us,
    array_agg(energy_{direction}_kwh) AS energy_kwh, array_agg(estimated_{direction}_kwh) AS estimated_kwh,
    array_agg(coverage::float8) AS coverage
FROM (SELECT * FROM interval_15m WHERE meter_id = $1 AND bucket >= $2 AND bucket < $3 ORDER BY bucket) AS ordered
"""
# Only usable samples: a counter may be silent for weeks while the power beside it is read every second. What lies
# before the horizon of the raw readings is in the tail that retention has left, see emsd.store.retention. {usable} is
# made of the fixed names below.
_COLUMNS: Final = "time, energy_import_kwh, energy_export_kwh, active_power_kw::float8"
_BEFORE: Final = """
    (SELECT * FROM (
        (SELECT {columns} FROM reading WHERE meter_id = $1 AND {usable} AND time < $2 AND time >= $5
            ORDER BY time DESC LIMIT $4)
        UNION ALL
        (SELECT {columns} FROM reading_tail WHERE meter_id = $1 AND {usable} AND time < $2)
    ) AS kept ORDER BY time DESC LIMIT $4)"""
_AFTER: Final = """
    (SELECT {columns} FROM reading WHERE meter_id = $1 AND {usable} AND time >= $3 AND time >= $5
        ORDER BY time LIMIT $4)"""
_INSIDE: Final = """
    (SELECT {columns} FROM reading WHERE meter_id = $1 AND ({usable}) AND time >= $2 AND time < $3 AND time >= $5)"""
_READ_USABLE: Final = """
SELECT array_agg((extract(epoch FROM time) * 1000000)::bigint) AS time_us, array_agg(energy_import_kwh) AS import_kwh,
    array_agg(energy_export_kwh) AS export_kwh, array_agg(active_power_kw) AS power_kw
FROM (SELECT * FROM ({parts}) AS sample ORDER BY time) AS ordered
"""


def _reading_usable(*columns: str) -> str:
    """The query for the samples of some series, with the context of each."""
    usable = [f"{column} IS NOT NULL" for column in columns]
    around = [part.format(usable=each, columns=_COLUMNS) for each in usable for part in (_BEFORE, _AFTER)]
    inside = _INSIDE.format(usable=" OR ".join(usable), columns=_COLUMNS)
    return _READ_USABLE.format(parts=" UNION ".join([inside, *around]))


_READ_COUNTERS: Final = _reading_usable("energy_import_kwh", "energy_export_kwh")
_READ_POWER: Final = _reading_usable("active_power_kw")


async def read_quarters(
    connection: Session, meter_id: int, direction: Direction, from_us: int, to_us: int
) -> QuarterRows:
    """Return the quarter hours of a meter that begin in [from_us, to_us)."""
    row = await connection.fetchrow(
        _READ_QUARTERS.format(direction=direction), meter_id, to_datetime(from_us), to_datetime(to_us)
    )
    columns = [row[name] or () for name in ("energy_kwh", "estimated_kwh", "coverage")] if row else [(), (), ()]
    bucket_us = np.array((row["bucket_us"] if row else None) or (), dtype=np.int64)
    return QuarterRows(bucket_us, *(np.array(column, dtype=np.float64) for column in columns))


async def read_usable(
    connection: Session, meter_id: int, from_us: int, to_us: int, *, by_counter: bool, context: int, kept_from_us: int
) -> SampleRows | None:
    """Return the usable samples of a meter in [from_us, to_us), and up to `context` of each series on either side.

    `by_counter` says whether a counter or the power makes a sample usable. None when there is none at all.
    """
    row = await connection.fetchrow(
        _READ_COUNTERS if by_counter else _READ_POWER,
        meter_id,
        to_datetime(from_us),
        to_datetime(to_us),
        context,
        to_datetime(kept_from_us),
    )
    if row is None or row["time_us"] is None:
        return None
    columns = (np.array(row[name], dtype=np.float64) for name in ("import_kwh", "export_kwh", "power_kw"))
    return SampleRows(np.array(row["time_us"], dtype=np.int64), *columns)
