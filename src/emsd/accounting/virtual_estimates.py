"""Estimates of virtual meters: the expression once more, over the best that is known of its inputs.

A virtual meter has no gaps of its own. Where an input is estimated, its expression is combined again with that input's
estimate in the place of what was measured, and stands beside the virtual meter's interval as any estimate does. What is
measured of the inputs stays measured: of 10 kWh read and 5 kWh estimated, 5 of the 15 kWh are estimated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from emsd.energy.expressions import VirtualInput, combine
from emsd.energy.series import BUCKET_15M_US, BoolArray, FloatArray, TimeArray
from emsd.store import virtual_estimates as table
from emsd.store.estimates import Direction
from emsd.store.pool import Session
from emsd.store.virtual_meters import VirtualRow

__all__ = ["estimate_virtual"]


async def estimate_virtual(connection: Session, row: VirtualRow, quarters_us: Sequence[int]) -> None:
    """Make the estimates of one virtual meter in some quarter hours [us], ascending, anew."""
    inputs = sorted(row.factors)
    estimated = await table.estimated_quarters(connection, inputs, quarters_us)
    chosen_us = np.array(list(estimated), dtype=np.int64)
    estimates: dict[Direction, table.VirtualEstimates] = {}
    if estimated:
        best = await table.read_best_quarters(connection, inputs, chosen_us, with_estimates=True)
        own = await table.read_best_quarters(connection, [row.meter_id], chosen_us, with_estimates=False)
        total_known = np.array(list(estimated.values()), dtype=np.bool_)
        estimates = _estimates(row, best, own[row.meter_id], chosen_us, total_known)
    await table.replace_virtual_estimates(connection, row.meter_id, quarters_us, estimates)


def _estimates(
    row: VirtualRow,
    best: Mapping[int, table.BestQuarters],
    own: table.BestQuarters,
    quarters_us: TimeArray,
    total_known: BoolArray,
) -> dict[Direction, table.VirtualEstimates]:
    nothing = np.full(quarters_us.size, np.nan)
    made = combine(
        [
            VirtualInput(
                factor=factor,
                net_kwh=_net(best[source]),
                estimated_kwh=best[source].estimated_import_kwh + best[source].estimated_export_kwh,
                coverage=np.zeros(quarters_us.size),
                power_avg_kw=nothing,
                flags=np.zeros(quarters_us.size, dtype=np.uint8),
            )
            for source, factor in row.factors.items()
        ],
        row.missing,
        BUCKET_15M_US,
    )
    known = np.isfinite(made.net_kwh)
    net, estimated = made.net_kwh[known], made.estimated_kwh[known]

    def of(measured_kwh: FloatArray, measured_estimated_kwh: FloatArray, sign: float) -> table.VirtualEstimates:
        return table.VirtualEstimates(
            bucket_us=quarters_us[known],
            energy_kwh=np.maximum(sign * net, 0.0),
            replaced_kwh=np.nan_to_num(measured_kwh[known]),
            more_estimated_kwh=np.where(sign * net >= 0, estimated, 0.0) - measured_estimated_kwh[known],
            total_known=total_known[known],
        )

    return {
        "import": of(own.import_kwh, own.estimated_import_kwh, 1.0),
        "export": of(own.export_kwh, own.estimated_export_kwh, -1.0),
    }


def _net(quarters: table.BestQuarters) -> FloatArray:
    neither = np.isnan(quarters.import_kwh) & np.isnan(quarters.export_kwh)
    return np.where(neither, np.nan, np.nan_to_num(quarters.import_kwh) - np.nan_to_num(quarters.export_kwh))
