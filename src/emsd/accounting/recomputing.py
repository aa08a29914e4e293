"""What is to be computed anew, cut into pieces that a pass does in seconds; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from emsd.accounting.accounts import MeterAccount
from emsd.energy.series import BUCKET_15M_US, US_PER_S, ceil_us, floor_us
from emsd.readings import instant_us, to_datetime
from emsd.store.recomputations import Piece

__all__ = ["pieces_of"]

_SAMPLES_PER_PIECE: Final = 16_000_000
_MINUTES_PER_PIECE: Final = 240_000
"""Most samples and meter-minutes of a piece: about ten seconds, which live data waits and Ctrl-C gives up."""
_METERS_PER_PIECE: Final = 2_000
_LONGEST_US: Final = 96 * BUCKET_15M_US
_GAUGE_INTERVAL_S: Final = 60.0
"""Of a meter without an account it is not known here how often it speaks."""


def pieces_of(
    meter_ids: Sequence[int],
    accounts: Mapping[int, MeterAccount],
    from_: datetime,
    to: datetime,
    *,
    intervals: bool,
    gauges: bool,
    newest_first: bool = True,
) -> list[Piece]:
    """Return the pieces that cover [from_, to), widened to whole quarter hours, of all these meters.

    All meters of some hours make a piece, rather than all hours of some meters: readings lie on disk in the order of
    time.
    """
    begin_us, end_us = floor_us(instant_us(from_), BUCKET_15M_US), ceil_us(instant_us(to), BUCKET_15M_US)
    pieces = []
    for start in range(0, len(meter_ids), _METERS_PER_PIECE):
        meters = list(meter_ids[start : start + _METERS_PER_PIECE])
        length_us = _length_us(
            accounts[each].poll_interval_s if each in accounts else _GAUGE_INTERVAL_S for each in meters
        )
        pieces += [
            Piece(to_datetime(first_us), to_datetime(min(first_us + length_us, end_us)), meters, intervals, gauges)
            for first_us in range(begin_us, end_us, length_us)
        ]
    return sorted(pieces, key=lambda each: each.from_, reverse=newest_first)


def _length_us(intervals_s: Iterable[float]) -> int:
    polls_s = list(intervals_s)
    by_samples_s = _SAMPLES_PER_PIECE / math.fsum(1 / each for each in polls_s)
    by_minutes_s = 60.0 * _MINUTES_PER_PIECE / len(polls_s)
    length_us = floor_us(int(min(by_samples_s, by_minutes_s) * US_PER_S), BUCKET_15M_US)
    return min(max(length_us, BUCKET_15M_US), _LONGEST_US)
