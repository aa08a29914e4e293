"""The best energy that is known: measured, and the estimates of long gaps in place of their even spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emsd.energy.windows import Tier
from emsd.readings import to_datetime
from emsd.store.energy_series import EnergySeries, read_energy
from emsd.store.estimates import DIRECTIONS
from emsd.store.pool import Session

__all__ = ["read_best_energy", "summed"]

_READ: Final = """
SELECT meter_id, direction, array_agg((extract(epoch FROM bucket) * 1000000)::bigint) AS bucket_us,
    array_agg(energy_kwh - replaced_kwh) AS more_kwh,
    array_agg(coalesce(more_estimated_kwh, energy_kwh - replaced_kwh)) AS more_estimated_kwh
FROM estimate_15m WHERE meter_id = ANY($1::integer[]) AND bucket >= $2 AND bucket < $3 AND energy_kwh IS NOT NULL
    AND bucket >= coalesce((SELECT kept_from FROM retention_horizon WHERE tier = $4), '-infinity')
GROUP BY meter_id, direction
"""
"""An estimate of a quarter hour that retention has dropped is no whole figure; local days are never dropped."""


async def read_best_energy(
    connection: Session, meter_ids: Sequence[int], tier: Tier, edges_us: NDArray[np.int64]
) -> dict[int, EnergySeries]:
    """Return what `read_energy` does, with the estimates of long gaps put in.

    `import_kwh` and `export_kwh` are known where either a reading or an estimate knows them; the estimated part of both
    tells what was not measured: what is spread evenly over gaps of up to an hour, and the estimates of longer ones. A
    virtual meter has what its inputs have.
    `coverage` is that of the measurement. `summed` makes months of days.

    Args:
        connection: a session, best one of `emsd.store.reads.snapshot`.
        meter_ids: meters with energy; one without any row is all unknown.
        tier: 15m or 1d; estimates are made by the quarter hour.
        edges_us: int64[k + 1], ascending; the tier's own edges.

    Raises:
        ValueError: the tier is 1m.
    """
    if tier == "1m":
        raise ValueError("estimates are made by the quarter hour; ask for tier 15m or 1d")
    measured = await read_energy(connection, meter_ids, tier, edges_us)
    begin, end = to_datetime(int(edges_us[0])), to_datetime(int(edges_us[-1]))
    rows = await connection.fetch(_READ, meter_ids, begin, end, tier)
    for row in rows:
        meter_id, direction = row["meter_id"], row["direction"]
        places = np.searchsorted(edges_us, np.array(row["bucket_us"], dtype=np.int64), side="right") - 1
        more = {
            f"{direction}_kwh": np.array(row["more_kwh"], dtype=np.float64),
            f"estimated_{direction}_kwh": np.array(row["more_estimated_kwh"], dtype=np.float64),
        }
        measured[meter_id] = _with_more(measured[meter_id], places, more)
    return measured


def _with_more(series: EnergySeries, places: NDArray[np.intp], more: Mapping[str, NDArray[np.float64]]) -> EnergySeries:
    """Add to columns of a series at `places`, which may repeat; unknown buckets become known there."""
    columns = {}
    for name, more_kwh in more.items():
        column = columns[name] = getattr(series, name).copy()
        column[places] = np.nan_to_num(column[places])
        np.add.at(column, places, more_kwh)
    return replace(series, **columns)


def summed(series: EnergySeries, edges_us: NDArray[np.int64]) -> EnergySeries:
    """Add a series up to wider buckets, such as months of days.

    edges_us  int64[j + 1], ascending, each one an edge of the series. A sum is NaN where all of its parts are; its
    coverage is the mean of theirs, weighted by their length. Raises ValueError when an edge is none of the series.
    """
    places = np.searchsorted(series.edges_us, edges_us)
    if places[-1] >= series.edges_us.size or not np.array_equal(series.edges_us[places], edges_us):
        raise ValueError("every edge of the wider buckets must be an edge of the series")
    columns = {}
    for direction in DIRECTIONS:
        energy_kwh = getattr(series, f"{direction}_kwh")
        known = _sums(np.isfinite(energy_kwh).astype(np.float64), places)
        columns[f"{direction}_kwh"] = np.where(known > 0, _sums(np.nan_to_num(energy_kwh), places), np.nan)
        columns[f"estimated_{direction}_kwh"] = _sums(getattr(series, f"estimated_{direction}_kwh"), places)
    width = (series.edges_us[1:] - series.edges_us[:-1]).astype(np.float64)
    coverage = _sums(series.coverage * width, places) / (edges_us[1:] - edges_us[:-1])
    return EnergySeries(edges_us=edges_us, coverage=coverage, **columns)


def _sums(values: NDArray[np.float64], places: NDArray[np.intp]) -> NDArray[np.float64]:
    total = np.concatenate(([0.0], np.cumsum(values)))
    return total[places[1:]] - total[places[:-1]]
