"""A virtual meter explained: its expression applied anew to the stored minutes of its inputs, a day at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from emsd.energy.expressions import VirtualInput, combine
from emsd.energy.series import BUCKET_1M_US, US_PER_HOUR
from emsd.readings import instant_us
from emsd.store.bucket_series import read_minutes
from emsd.store.pool import Session
from emsd.store.virtual_meters import VirtualRow

__all__ = ["VirtualSums", "virtual_sums"]

_PART_US = 24 * US_PER_HOUR
"""What is in memory at once: the minutes of a day of every input."""


@dataclass(frozen=True, slots=True)
class VirtualSums:
    """What the minutes of its inputs make of a virtual meter [kWh]; None is unknown.

    known_minutes    minutes of the time in which the expression has a value
    partial_minutes  those of them in which an input is left out
    """

    import_kwh: float | None
    export_kwh: float | None
    estimated_import_kwh: float | None
    estimated_export_kwh: float | None
    known_minutes: int
    partial_minutes: int


async def virtual_sums(connection: Session, row: VirtualRow, from_: datetime, to: datetime) -> VirtualSums:
    """Return the energy of a virtual meter in [from_, to), full minutes, from what is stored of its inputs."""
    nets, estimates, counts = [], [], []
    end_us = instant_us(to)
    for begin_us in range(instant_us(from_), end_us, _PART_US):
        minutes_us = np.arange(begin_us, min(begin_us + _PART_US, end_us), BUCKET_1M_US, dtype=np.int64)
        series = await read_minutes(connection, list(row.factors), minutes_us)
        made = combine(
            [
                VirtualInput(
                    factor=factor,
                    net_kwh=series[source].net_kwh,
                    estimated_kwh=series[source].estimated_kwh,
                    coverage=series[source].coverage,
                    power_avg_kw=series[source].power_avg_kw,
                    flags=series[source].flags,
                )
                for source, factor in row.factors.items()
            ],
            row.missing,
            BUCKET_1M_US,
        )
        known = np.isfinite(made.net_kwh)
        nets.append(made.net_kwh[known])
        estimates.append(made.estimated_kwh[known])
        counts.append(made.known_inputs[known])
    net, estimated, count = np.concatenate(nets), np.concatenate(estimates), np.concatenate(counts)
    taken, given = np.maximum(net, 0.0), np.maximum(-net, 0.0)
    sums = [taken, given, np.where(net >= 0, estimated, 0.0), np.where(net < 0, estimated, 0.0)]
    import_kwh, export_kwh, estimated_import_kwh, estimated_export_kwh = _sums(sums)
    return VirtualSums(
        import_kwh,
        export_kwh,
        estimated_import_kwh,
        estimated_export_kwh,
        known_minutes=net.size,
        partial_minutes=int(np.count_nonzero(count < len(row.factors))),
    )


def _sums(columns: Sequence[np.typing.NDArray[np.float64]]) -> list[float | None]:
    return [math.fsum(column.tolist()) if column.size else None for column in columns]
