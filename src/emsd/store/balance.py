"""Energy of the meters of buses over a window, in the buckets that their balance is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from emsd.energy.balance import BusEnergy
from emsd.energy.series import BUCKET_1M_US, BUCKET_15M_US, bucket_edges
from emsd.energy.windows import Segment, Tier, split_by_tier
from emsd.readings import instant_us
from emsd.store.energy_series import EnergySeries, read_energy
from emsd.store.pool import Session

__all__ = ["BalanceEnergy", "Stretch", "portions", "read_balance_energy", "stretches"]

_WIDTHS_US: Final = {"1m": BUCKET_1M_US, "15m": BUCKET_15M_US}
_CELLS_AT_ONCE: Final = 200_000
"""Buckets, of all meters together, that are in memory at once, as they come and as arrays: some 60 MB."""
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


def portions(buckets: Sequence[Stretch], meters: int) -> Iterator[Stretch]:
    """Yield the buckets in parts that may be in memory at once for so many meters."""
    at_once = max(1, _CELLS_AT_ONCE // max(1, meters))
    for stretch in buckets:
        for first in range(0, stretch.edges_us.size - 1, at_once):
            yield Stretch(stretch.tier, stretch.edges_us[first : first + at_once + 1])


async def read_balance_energy(connection: Session, meter_ids: Sequence[int], part: Stretch) -> BalanceEnergy:
    """Return the energy of every meter in the buckets of one portion."""
    found = await read_energy(connection, meter_ids, part.tier, part.edges_us)
    return BalanceEnergy(
        begins_us=part.edges_us[:-1],
        widths_us=np.diff(part.edges_us),
        by_meter={meter_id: _bus_energy(series) for meter_id, series in found.items()},
    )


def _bus_energy(series: EnergySeries) -> BusEnergy:
    estimated = series.estimated_import_kwh + series.estimated_export_kwh
    return BusEnergy(series.import_kwh, series.export_kwh, estimated, series.coverage)
