"""Whether intervals are the sums of those that they were built from: local days, quarter hours, minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from emsd.energy.windows import Tier
from emsd.store.pool import Session

__all__ = ["TierDifference", "read_day_differences", "read_quarter_differences"]


@dataclass(frozen=True, slots=True)
class TierDifference:
    """A local day that is not the sum of its quarter hours, or a quarter hour that is not that of its minutes.

    import_kwh, export_kwh  what it holds more than they do [kWh]
    """

    tier: Tier
    begin: datetime
    import_kwh: float
    export_kwh: float


_DIFFERENCES: Final = """
SELECT begin, import_kwh, export_kwh FROM (
    SELECT begin, coalesce(above.import_kwh, 0) - coalesce(below.import_kwh, 0) AS import_kwh,
        coalesce(above.export_kwh, 0) - coalesce(below.export_kwh, 0) AS export_kwh
    FROM above FULL JOIN below USING (begin)
) AS difference
WHERE abs(import_kwh) > $4 OR abs(export_kwh) > $4 ORDER BY begin"""
_OF_DAYS: Final = """
WITH above AS (
    SELECT bucket AS begin, energy_import_kwh AS import_kwh, energy_export_kwh AS export_kwh
    FROM interval_1d WHERE meter_id = $1 AND bucket = ANY($2::timestamptz[])
), below AS (
    SELECT span.begin, sum(energy_import_kwh) AS import_kwh, sum(energy_export_kwh) AS export_kwh
    FROM unnest($2::timestamptz[], $3::timestamptz[]) AS span (begin, until)
    JOIN interval_15m AS part ON part.meter_id = $1 AND part.bucket >= span.begin AND part.bucket < span.until
    GROUP BY span.begin
)"""
_OF_QUARTERS: Final = """
WITH above AS (
    SELECT bucket AS begin, energy_import_kwh AS import_kwh, energy_export_kwh AS export_kwh
    FROM interval_15m WHERE meter_id = $1 AND bucket >= $2 AND bucket < $3
), below AS (
    SELECT time_bucket('15 minutes', bucket) AS begin, sum(energy_import_kwh) AS import_kwh,
        sum(energy_export_kwh) AS export_kwh
    FROM interval_1m WHERE meter_id = $1 AND bucket >= $2 AND bucket < $3 GROUP BY 1
)"""
_LEAST_KWH: Final = 1e-6
"""What rounding may leave of a sum of doubles [kWh]."""


async def read_day_differences(
    connection: Session, meter_id: int, days: Sequence[tuple[datetime, datetime]]
) -> list[TierDifference]:
    """Return which of these local days, each with its bounds, are not the sum of their quarter hours."""
    if not days:
        return []
    begins, ends = [begin for begin, _ in days], [end for _, end in days]
    rows = await connection.fetch(_OF_DAYS + _DIFFERENCES, meter_id, begins, ends, _LEAST_KWH)
    return [TierDifference("1d", **dict(row)) for row in rows]


async def read_quarter_differences(
    connection: Session, meter_id: int, from_: datetime, to: datetime
) -> list[TierDifference]:
    """Return which quarter hours of [from_, to), full ones, are not the sum of their minutes."""
    if from_ >= to:
        return []
    rows = await connection.fetch(_OF_QUARTERS + _DIFFERENCES, meter_id, from_, to, _LEAST_KWH)
    return [TierDifference("15m", **dict(row)) for row in rows]
