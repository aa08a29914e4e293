"""Energy of meters as dense series, for whoever computes with it: cost, carbon, demand, balance, key figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import numpy as np
from numpy.typing import NDArray

from emsd.energy.windows import Tier
from emsd.readings import to_datetime
from emsd.store.pool import Session

__all__ = ["EnergySeries", "read_energy"]


@dataclass(frozen=True, slots=True, eq=False)
class EnergySeries:
    """Energy of one meter in k successive buckets; NaN where nothing is known.

    edges_us                                    int64[k + 1]
    import_kwh, export_kwh                      float64[k] [kWh]; NaN too for a direction that is not metered
    estimated_import_kwh, estimated_export_kwh  float64[k] [kWh], the part of it from too long gaps; 0 where unknown
    coverage                                    float64[k], 0..1, share of the bucket that was measured; 0 where unknown
    """

    edges_us: NDArray[np.int64]
    import_kwh: NDArray[np.float64]
    export_kwh: NDArray[np.float64]
    estimated_import_kwh: NDArray[np.float64]
    estimated_export_kwh: NDArray[np.float64]
    coverage: NDArray[np.float64]

    @property
    def net_kwh(self) -> NDArray[np.float64]:
        """Import less export, float64[k] [kWh]; a direction that is not metered adds nothing, NaN where neither is."""
        neither = np.isnan(self.import_kwh) & np.isnan(self.export_kwh)
        net = np.nan_to_num(self.import_kwh) - np.nan_to_num(self.export_kwh)
        return np.where(neither, np.nan, net)


_TABLES: Final = {"1m": "interval_1m", "15m": "interval_15m", "1d": "interval_1d"}
_COLUMNS: Final = (
    "energy_import_kwh",
    "energy_export_kwh",
    "estimated_import_kwh",
    "estimated_export_kwh",
    "coverage",
)
_READ: Final = """
SELECT meter_id, array_agg((extract(epoch FROM bucket) * 1000000)::bigint) AS bucket_us, {columns}
FROM {table} WHERE meter_id = ANY($1::integer[]) AND bucket >= $2 AND bucket < $3
GROUP BY meter_id
"""
_UNKNOWN_WITHOUT_ROW: Final = 2
"""The first so many columns are unknown where no row is; of the others there is nothing then."""


async def read_energy(
    connection: Session, meter_ids: Sequence[int], tier: Tier, edges_us: NDArray[np.int64]
) -> dict[int, EnergySeries]:
    """Return the energy of every meter asked for in the buckets of a tier between k + 1 edges [us].

    Args:
        connection: a session, best one of `emsd.store.reads.snapshot`.
        meter_ids: meters with energy; one without any row is all unknown.
        tier: 1m, 15m or 1d.
        edges_us: int64[k + 1], ascending; the tier's own edges, as `emsd.energy.bucket_edges` makes them, and
            `emsd.energy.windows.local_day_edges` for days.
    """
    query = _READ.format(
        columns=", ".join(f"array_agg({name}::float8) AS {name}" for name in _COLUMNS), table=_TABLES[tier]
    )
    rows = await connection.fetch(query, meter_ids, to_datetime(int(edges_us[0])), to_datetime(int(edges_us[-1])))
    found = {row["meter_id"]: row for row in rows}
    return {meter_id: _series(found.get(meter_id), edges_us) for meter_id in meter_ids}


def _series(row: asyncpg.Record | None, edges_us: NDArray[np.int64]) -> EnergySeries:
    columns = [
        np.full(edges_us.size - 1, np.nan if place < _UNKNOWN_WITHOUT_ROW else 0.0) for place in range(len(_COLUMNS))
    ]
    if row is not None:
        places = np.searchsorted(edges_us, np.array(row["bucket_us"], dtype=np.int64))
        for column, name in zip(columns, _COLUMNS, strict=True):
            column[places] = np.array(row[name], dtype=np.float64)
    return EnergySeries(edges_us, *columns)
