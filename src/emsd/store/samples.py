"""The raw samples that intervals are made of, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emsd.readings import to_datetime
from emsd.store.pool import Session

__all__ = ["SampleRange", "SampleRows", "read_samples"]


@dataclass(frozen=True, slots=True)
class SampleRange:
    """Which samples of one meter are wanted: all in [from_us, to_us) and `context` usable ones on either side."""

    meter_id: int
    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True, eq=False)
class SampleRows:
    """Samples of one meter in ascending order of time: int64[n] and float64[n] arrays, NaN where NULL."""

    time_us: NDArray[np.int64]
    import_kwh: NDArray[np.float64]
    export_kwh: NDArray[np.float64]
    power_kw: NDArray[np.float64]


# A usable sample is one that has what the meter's energy is made of: a counter, or else its power. {usable} is one of
# the fixed texts below, never a value from outside. The look back is bounded first, because an open one asks every
# chunk of the hypertable; who finds too little looks again without bound.
_IMPORT, _EXPORT, _POWER = (
    f"{name} IS NOT NULL" for name in ("energy_import_kwh", "energy_export_kwh", "active_power_kw")
)
# One row a meter, with its samples as arrays: the driver turns an array into a list at once, where a row for each
# sample would cost the event loop several times as much. An aggregate takes its rows in the order of the subquery.
_READ_SAMPLES: Final = """
SELECT meter_id, array_agg((extract(epoch FROM time) * 1000000)::bigint) AS time_us,
    array_agg(energy_import_kwh) AS import_kwh, array_agg(energy_export_kwh) AS export_kwh,
    array_agg(active_power_kw) AS power_kw
FROM (SELECT wanted.meter_id, sample.*
FROM unnest($1::integer[], $2::timestamptz[], $3::timestamptz[]) AS wanted (meter_id, from_time, to_time)
CROSS JOIN LATERAL (
    ({before})
    UNION ALL
    (SELECT time, energy_import_kwh, energy_export_kwh, active_power_kw FROM reading
      WHERE meter_id = wanted.meter_id AND time >= wanted.from_time AND time < wanted.to_time)
    UNION ALL
    ({after})
) AS sample
ORDER BY wanted.meter_id, sample.time) AS ordered
GROUP BY meter_id
"""
_BEFORE: Final = """
    (SELECT time, energy_import_kwh, energy_export_kwh, active_power_kw FROM reading
      WHERE meter_id = wanted.meter_id AND time < wanted.from_time AND time >= wanted.from_time - $4::interval
        AND {usable} ORDER BY time DESC LIMIT $5)"""
_AFTER: Final = """
    (SELECT time, energy_import_kwh, energy_export_kwh, active_power_kw FROM reading
      WHERE meter_id = wanted.meter_id AND time >= wanted.to_time AND time < wanted.to_time + $4::interval
        AND {usable} ORDER BY time LIMIT $5)"""


def _reading_samples(*usable: str) -> str:
    """The query with the context of every kind of usable sample; a sample of several kinds comes once."""
    before, after = (" UNION ".join(part.format(usable=each) for each in usable) for part in (_BEFORE, _AFTER))
    return _READ_SAMPLES.format(before=before, after=after)


_READ_BY_COUNTER: Final = _reading_samples(f"({_IMPORT} OR {_EXPORT})")
_READ_BY_EACH_COUNTER: Final = _reading_samples(_IMPORT, _EXPORT)
_READ_BY_POWER: Final = _reading_samples(_POWER)


async def read_samples(
    connection: Session,
    ranges: Sequence[SampleRange],
    *,
    by_counter: bool,
    each_counter: bool = False,
    context: int,
    reach_s: float,
) -> dict[int, SampleRows]:
    """Return the samples of each meter in its range, with up to `context` usable ones before and after.

    `by_counter` says whether a counter or the power makes a sample usable, `each_counter` whether there shall be so
    many samples of both counters, which costs more; context lies within `reach_s` [s] of the range. A meter without any
    sample is absent. Meters must not stand twice in `ranges`.
    """
    counter_query = _READ_BY_EACH_COUNTER if each_counter else _READ_BY_COUNTER
    rows = await connection.fetch(
        counter_query if by_counter else _READ_BY_POWER,
        [each.meter_id for each in ranges],
        [to_datetime(each.from_us) for each in ranges],
        [to_datetime(each.to_us) for each in ranges],
        to_datetime(int(reach_s * 1e6)) - to_datetime(0),
        context,
    )
    return {
        meter_id: SampleRows(
            np.array(time_us, dtype=np.int64),
            *(np.array(column, dtype=np.float64) for column in (import_kwh, export_kwh, power_kw)),
        )
        for meter_id, time_us, import_kwh, export_kwh, power_kw in rows
    }
