"""Energy of the meters of buses over a window, in the buckets that their balance is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from emsd.energy.balance import BusEnergy, concatenated
from emsd.energy.series import BUCKET_1M_US, BUCKET_15M_US, bucket_edges
from emsd.energy.windows import Segment, Tier, split_by_tier
from emsd.readings import instant_us
from emsd.store.energy_series import EnergySeries, read_energy
from emsd.store.pool import Session

__all__ = ["BalanceEnergy", "Stretch", "read_balance_energy", "stretches"]

_WIDTHS_US: Final = {"1m": BUCKET_1M_US, "15m": BUCKET_15M_US}
_FINE_FOR: Final = timedelta(days=31)
"""Windows up to this long are balanced by quarter hours: the finer the buckets, the less a missing child hides."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Successive buckets of one tier, by their k + 1 edges, int64 [us]."""

    tier: Tier
    edges_us: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class BalanceEnergy:
    """Energy of some meters in the same k buckets: their begins and widths, int64[k] [us], and each meter's energy."""

    begins_us: NDArray[np.int64]
    widths_us: NDArray[np.int64]
    by_meter: dict[int, BusEnergy]


def stretches(from_: datetime, to: datetime, zone: ZoneInfo) -> list[Stretch]:
    """Return the buckets that make up [from_, to), both full minutes: quarter hours, in long windows local days."""
    by_days = to - from_ > _FINE_FOR
    segments = split_by_tier(from_, to, zone)
    if not by_days:
        segments = [Segment("15m", each.from_, each.to) if each.tier == "1d" else each for each in segments]
    return [_stretch(tier, list(group)) for tier, group in groupby(segments, key=lambda segment: segment.tier)]


def _stretch(tier: Tier, segments: Sequence[Segment]) -> Stretch:
    begin_us, end_us = instant_us(segments[0].from_), instant_us(segments[-1].to)
    if tier == "1d":
        edges = [*(instant_us(each.from_) for each in segments), end_us]
        return Stretch(tier, np.array(edges, dtype=np.int64))
    return Stretch(tier, bucket_edges(begin_us, end_us, _WIDTHS_US[tier]))


async def read_balance_energy(
    connection: Session, meter_ids: Iterable[int], buckets: Sequence[Stretch]
) -> BalanceEnergy:
    """Return the energy of every meter in the buckets of all stretches, one after the other."""
    wanted = sorted(set(meter_ids))
    parts: dict[int, list[BusEnergy]] = {meter_id: [] for meter_id in wanted}
    for stretch in buckets:
        for meter_id, series in (await read_energy(connection, wanted, stretch.tier, stretch.edges_us)).items():
            parts[meter_id].append(_bus_energy(series))
    return BalanceEnergy(
        begins_us=np.concatenate([stretch.edges_us[:-1] for stretch in buckets]),
        widths_us=np.concatenate(list(_widths(buckets))),
        by_meter={meter_id: concatenated(each) for meter_id, each in parts.items()},
    )


def _widths(buckets: Sequence[Stretch]) -> Iterator[NDArray[np.int64]]:
    return (np.diff(stretch.edges_us) for stretch in buckets)


def _bus_energy(series: EnergySeries) -> BusEnergy:
    estimated = series.estimated_import_kwh + series.estimated_export_kwh
    return BusEnergy(series.import_kwh, series.export_kwh, estimated, series.coverage)
