"""Estimates of virtual meters: which are due, what they are made of, and their rows.

They stand in estimate_15m beside those of other meters, with the method "inputs". Every function takes a connection:
accounting does all of it in the transaction that changes the inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import numpy as np
from numpy.typing import NDArray

from emsd.readings import to_datetime
from emsd.store.estimates import Direction
from emsd.store.pool import Session

__all__ = [
    "BestQuarters",
    "VirtualEstimates",
    "estimated_quarters",
    "mark_changed_virtual",
    "mark_dependent",
    "read_best_quarters",
    "replace_virtual_estimates",
]


# What a virtual meter is estimated for: where it is estimated already, and where something that it is made of is.
_MARK_CHANGED: Final = """
INSERT INTO estimate_due (meter_id, bucket)
SELECT DISTINCT changed.meter_id, estimate.bucket
FROM unnest($1::integer[], $2::timestamptz[], $3::timestamptz[]) AS changed (meter_id, from_time, to_time)
CROSS JOIN LATERAL (
    SELECT changed.meter_id AS source_id
    UNION ALL SELECT input_meter_id FROM virtual_meter_input WHERE meter_id = changed.meter_id
) AS source
JOIN estimate_15m AS estimate ON estimate.meter_id = source.source_id
    AND estimate.bucket >= time_bucket('15 minutes', changed.from_time) AND estimate.bucket < changed.to_time
ON CONFLICT DO NOTHING
"""
_MARK_DEPENDENT: Final = """
INSERT INTO estimate_due (meter_id, bucket)
SELECT virtual.meter_id, bucket
FROM virtual_meter_input AS virtual CROSS JOIN unnest($2::timestamptz[]) AS bucket
WHERE virtual.input_meter_id = $1
ON CONFLICT DO NOTHING
"""
_ESTIMATED: Final = """
SELECT (extract(epoch FROM bucket) * 1000000)::bigint AS bucket_us, bool_and(total_known) AS total_known
FROM estimate_15m
WHERE meter_id = ANY($1::integer[]) AND bucket = ANY($2::timestamptz[]) AND energy_kwh IS NOT NULL
GROUP BY bucket ORDER BY bucket
"""
_BEST: Final = """
SELECT meter_id, array_agg((extract(epoch FROM bucket) * 1000000)::bigint) AS bucket_us,
    array_agg(energy_import_kwh) AS import_kwh, array_agg(energy_export_kwh) AS export_kwh,
    array_agg(estimated_import_kwh) AS estimated_import_kwh, array_agg(estimated_export_kwh) AS estimated_export_kwh
FROM {source} WHERE meter_id = ANY($1::integer[]) AND bucket = ANY($2::timestamptz[]) GROUP BY meter_id
"""
_DELETE: Final = """
DELETE FROM estimate_15m WHERE meter_id = $1 AND bucket = ANY($2::timestamptz[])
"""
_INSERT: Final = """
INSERT INTO estimate_15m (meter_id, direction, bucket, energy_kwh, replaced_kwh, more_estimated_kwh, method,
    total_known, basis_days)
SELECT $1, $2, bucket, energy_kwh, replaced_kwh, more_estimated_kwh, 'inputs', total_known, '{}'
FROM unnest($3::timestamptz[], $4::float8[], $5::float8[], $6::float8[], $7::boolean[])
    AS part (bucket, energy_kwh, replaced_kwh, more_estimated_kwh, total_known)
"""


@dataclass(frozen=True, slots=True, eq=False)
class BestQuarters:
    """Energy of one meter in k chosen quarter hours; NaN where nothing is known.

    import_kwh, export_kwh                      float64[k] [kWh]
    estimated_import_kwh, estimated_export_kwh  float64[k] [kWh], the part of it that was not measured; 0 where unknown
    """

    import_kwh: NDArray[np.float64]
    export_kwh: NDArray[np.float64]
    estimated_import_kwh: NDArray[np.float64]
    estimated_export_kwh: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class VirtualEstimates:
    """Estimates of one virtual meter in one direction and j quarter hours, as the columns of estimate_15m.

    bucket_us                                    int64[j], beginnings
    energy_kwh, replaced_kwh, more_estimated_kwh float64[j] [kWh]
    total_known                                  bool[j]
    """

    bucket_us: NDArray[np.int64]
    energy_kwh: NDArray[np.float64]
    replaced_kwh: NDArray[np.float64]
    more_estimated_kwh: NDArray[np.float64]
    total_known: NDArray[np.bool_]


async def mark_changed_virtual(connection: Session, changed: Sequence[tuple[int, int, int]]) -> None:
    """Mark estimates of virtual meters whose minutes [from_us, to_us) changed, given as (meter_id, from_us, to_us)."""
    if changed:
        await connection.execute(
            _MARK_CHANGED,
            [meter_id for meter_id, _, _ in changed],
            [to_datetime(from_us) for _, from_us, _ in changed],
            [to_datetime(to_us) for _, _, to_us in changed],
        )


async def mark_dependent(connection: Session, meter_id: int, quarters_us: Sequence[int]) -> bool:
    """Mark the virtual meters that are made of a meter whose estimates changed; say whether there are any."""
    if not quarters_us:
        return False
    tag = await connection.execute(_MARK_DEPENDENT, meter_id, [to_datetime(each) for each in quarters_us])
    return not tag.endswith(" 0")


async def estimated_quarters(
    connection: Session, meter_ids: Sequence[int], quarters_us: Sequence[int]
) -> dict[int, bool]:
    """Return those of some quarter hours [us] in which one of the meters is estimated.

    With each, whether counters said what all these gaps hold.
    """
    rows = await connection.fetch(_ESTIMATED, meter_ids, [to_datetime(each) for each in quarters_us])
    return {row["bucket_us"]: row["total_known"] for row in rows}


async def read_best_quarters(
    connection: Session, meter_ids: Sequence[int], quarters_us: NDArray[np.int64], *, with_estimates: bool
) -> dict[int, BestQuarters]:
    """Return the energy of meters in quarter hours that begin at `quarters_us`, int64[k], ascending.

    It is what was measured, `with_estimates` the best that is known.
    """
    query = _BEST.format(source="best_15m" if with_estimates else "interval_15m")
    rows = await connection.fetch(query, meter_ids, [to_datetime(each) for each in quarters_us.tolist()])
    found = {row["meter_id"]: row for row in rows}
    return {meter_id: _quarters(found.get(meter_id), quarters_us) for meter_id in meter_ids}


def _quarters(row: asyncpg.Record | None, quarters_us: NDArray[np.int64]) -> BestQuarters:
    columns = {name: np.full(quarters_us.size, empty) for name, empty in _COLUMNS.items()}
    if row is not None:
        places = np.searchsorted(quarters_us, np.array(row["bucket_us"], dtype=np.int64))
        for name, column in columns.items():
            column[places] = np.array(row[name], dtype=np.float64)
    return BestQuarters(**columns)


_COLUMNS: Final = {
    "import_kwh": np.nan,
    "export_kwh": np.nan,
    "estimated_import_kwh": 0.0,
    "estimated_export_kwh": 0.0,
}


async def replace_virtual_estimates(
    connection: Session,
    meter_id: int,
    quarters_us: Sequence[int],
    estimates: Mapping[Direction, VirtualEstimates],
) -> None:
    """Let these be the only estimates of a virtual meter in some quarter hours [us]."""
    await connection.execute(_DELETE, meter_id, [to_datetime(each) for each in quarters_us])
    for direction, each in estimates.items():
        await connection.execute(
            _INSERT,
            meter_id,
            direction,
            [to_datetime(bucket) for bucket in each.bucket_us.tolist()],
            each.energy_kwh.tolist(),
            each.replaced_kwh.tolist(),
            each.more_estimated_kwh.tolist(),
            each.total_known.tolist(),
        )
