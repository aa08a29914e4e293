"""What a counter of any quantity counted over some time: gas by a pulse counter, diesel by a flow meter."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from emsd.energy.counters import CounterRules, increments
from emsd.energy.intervals import flags_in_buckets, spread
from emsd.energy.series import IncrementFlag, datetime_to_us
from emsd.errors import LedgerRefused, UnknownEntry
from emsd.quantities import BY_NAME, Kind
from emsd.store.pool import Pool, session

__all__ = ["CounterUse", "read_counter_use"]

_LOOK_ASIDE: Final = timedelta(days=2)
"""How far before and after the period a reading may lie that says where the counter stood at its bounds."""
_MAX_GAP_S: Final = 3600.0

# One reading a quarter of an hour tells as much as a thousand, except of a counter that restarts twice within it.
_SAMPLES: Final = """
SELECT DISTINCT ON (time_bucket('15 minutes', time)) time, {column} AS value
FROM reading WHERE meter_id = $1 AND {column} IS NOT NULL AND time >= $2 AND time < $3
ORDER BY time_bucket('15 minutes', time), time DESC"""
_METER: Final = "SELECT meter_id FROM meter WHERE site_id = $1 AND key = $2"


@dataclass(frozen=True, slots=True)
class CounterUse:
    """What was counted in a period, in the quantity's unit; coverage 0..1 is the share of it that was measured.

    first, last  readings (time, value) next to the bounds of the period
    flags        what happened to the counter, by name: reset, swap, ...
    """

    counted: float
    coverage: float
    first: tuple[datetime, float]
    last: tuple[datetime, float]
    flags: tuple[str, ...]


async def read_counter_use(
    pool: Pool,
    site_id: int,
    meter_key: str,
    quantity: str,
    from_: datetime,
    to: datetime,
    *,
    rollover_at: float | None = None,
    most_per_hour: float | None = None,
) -> CounterUse:
    """Return what a counter counted in [from_, to), by the rules by which energy is counted.

    `rollover_at` is where the counter begins again at 0, `most_per_hour` the most that can go through in an hour, both
    in its own unit; without them a rollover looks like a restart, and any rise is believed.

    Raises:
        UnknownEntry: there is no such meter, or no counter of this name in the vocabulary.
        LedgerRefused: no readings on both sides tell what it counted.
        StoreUnavailable: the database cannot be reached now.
    """
    known = BY_NAME.get(quantity)
    if known is None or known.kind is not Kind.COUNTER:
        counters = ", ".join(each.name for each in BY_NAME.values() if each.kind is Kind.COUNTER)
        raise UnknownEntry(f"{quantity!r} is no counter of the vocabulary; counters are {counters}")
    async with session(pool, "read a counter") as connection:
        meter_id = await connection.fetchval(_METER, site_id, meter_key)
        if meter_id is None:
            raise UnknownEntry(f"there is no meter {meter_key!r} in the plant")
        query = _SAMPLES.format(column=known.name)
        rows = await connection.fetch(query, meter_id, from_ - _LOOK_ASIDE, to + _LOOK_ASIDE)
    times = np.array([datetime_to_us(row["time"]) for row in rows], dtype=np.int64)
    values = np.array([row["value"] for row in rows], dtype=np.float64)
    edges_us = np.array([datetime_to_us(from_), datetime_to_us(to)], dtype=np.int64)
    if times.size < 2 or times[0] > edges_us[0] or times[-1] < edges_us[1]:
        raise LedgerRefused(
            f"meter {meter_key} has no readings of {quantity} within {_LOOK_ASIDE.days} days on both sides of the"
            " period; enter the amount by hand"
        )
    rules = CounterRules(
        max_gap_s=_MAX_GAP_S, refresh_s=_MAX_GAP_S, modulus_kwh=rollover_at, max_power_kw=most_per_hour
    )
    found = increments(times, values, rules)
    buckets = spread(found, edges_us)
    if found.pending or np.isnan(buckets.energy_kwh[0]):
        raise LedgerRefused(f"what meter {meter_key} counted is not known yet; enter the amount by hand, or try later")
    before, after = int(np.searchsorted(times, edges_us[0], "right")) - 1, int(np.searchsorted(times, edges_us[1]))
    return CounterUse(
        counted=float(buckets.energy_kwh[0]),
        coverage=float(buckets.covered_s[0]) / (to - from_).total_seconds(),
        first=(rows[before]["time"], float(values[before])),
        last=(rows[after]["time"], float(values[after])),
        flags=_names(IncrementFlag(int(flags_in_buckets(found, edges_us)[0]))),
    )


def _names(flags: IncrementFlag) -> tuple[str, ...]:
    return tuple(flag.name.lower() for flag in flags if flag.name is not None)
