"""Where the running settlement period will end: its demand by now, by its trend, and what may still be drawn.

The energy drawn so far is known. The rest is forecast by persistence: the mean power of the last minutes goes on to the
end. How wrong that may be is not assumed but measured: over the last two hours, how far was the mean of so many
minutes from the mean of the minutes that followed it, as many as now remain? The error of the forecast is that
deviation times the share of the period that remains, so it is large early in the period and vanishes at its end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import numpy as np

from emsd.energy.demand import TRUSTED_COVERAGE
from emsd.energy.series import BUCKET_1M_US, US_PER_S, FloatArray, datetime_from_us

__all__ = [
    "MEMORY_MINUTES",
    "TREND_MINUTES",
    "DemandForecast",
    "Tail",
    "block_begin_us",
    "forecast_demand",
    "forecast_from_minutes",
    "persistence_error_kw",
]

TREND_MINUTES = 3
"""Minutes whose mean power is taken to go on: fewer follow a load that cycles, more miss one that has just started."""
MEMORY_MINUTES = 120
"""Minutes that the error of the forecast is measured on."""
FEWEST_TRIALS = 10
"""Fewer past forecasts say nothing about their error."""
LARGEST_LAG_SHARE = 1 / 3
"""Share of a period that the newest minutes may be unknown for: a meter that reports every 5 min has a forecast."""


@dataclass(frozen=True, slots=True)
class DemandForecast:
    """The running settlement period.

    energy_kwh          drawn since it began [kWh]
    assumed_min         newest minutes of which nothing is known yet, taken to be like those before them [min]
    present_kw          mean power of the last minutes [kW]
    forecast_kw         its demand if that goes on [kW]
    error_kw            root mean square error of such a forecast at this place in the period [kW]; None: not known
    contract_kw         agreed demand [kW]; None: none is
    headroom_kw         mean power that may be drawn in the rest without exceeding it [kW]; below 0 it is exceeded
                        whatever is done; None without a contract
    minutes_left        time until the energy of the contract is used up at the present power [min]; the period's
                        length when it is not before the period ends; None without a contract
    """

    energy_kwh: float
    present_kw: float
    forecast_kw: float
    error_kw: float | None
    contract_kw: float | None
    headroom_kw: float | None
    minutes_left: float | None
    assumed_min: int = 0


@dataclass(frozen=True, slots=True)
class Tail:
    """Energy drawn since the last settled minute, in the order of time.

    until_us      how far it reaches [us]
    energy_kwh    since the settled minute [kWh]
    in_block_kwh  since the running period began, if that began after the settled minute, else the same [kWh]
    """

    until_us: int
    energy_kwh: float
    in_block_kwh: float


def block_begin_us(time_us: int, period_us: int, zone: ZoneInfo) -> int:
    """Return when the settlement period in which an instant lies began [us]; periods follow the wall clock."""
    offset = datetime_from_us(time_us).astimezone(zone).utcoffset()
    offset_us = 0 if offset is None else int(offset.total_seconds()) * US_PER_S
    return time_us - (time_us + offset_us) % period_us


def forecast_from_minutes(
    minute_kw: FloatArray,
    settled_us: int,
    begin_us: int,
    *,
    period_min: int,
    contract_kw: float | None = None,
    tail: Tail | None = None,
) -> DemandForecast | None:
    """Return the forecast of the period that began at `begin_us`, None when too little of it is known.

    minute_kw   float64[n] [kW], mean power of the n minutes up to `settled_us`, NaN where unknown
    settled_us  end of the last minute [us]
    begin_us    `block_begin_us` of the instant that the forecast is made at [us]
    tail        what was drawn since, if it is known

    Missing minutes are taken to be like the others of the period, as long as it can still be trusted at its end, with
    nine tenths of it. The newest may be missing besides, for a third of the period: power is taken to have gone on.
    """
    assumed = _unknown_at_end(minute_kw)
    known_kw = minute_kw[: minute_kw.size - assumed]
    if not known_kw.size or assumed > LARGEST_LAG_SHARE * period_min:
        return None
    recent_kw = known_kw[-TREND_MINUTES:]
    trend_min = int(np.isfinite(recent_kw).sum())
    elapsed_min, present_kw = (settled_us - begin_us) / BUCKET_1M_US, float(np.nanmean(recent_kw))
    if tail is not None:
        since_min = (tail.until_us - settled_us) / BUCKET_1M_US
        elapsed_min += since_min
        present_kw = (float(np.nansum(recent_kw)) / 60 + tail.energy_kwh) * 60 / (trend_min + since_min)
    energy_kwh = _energy_of_block(known_kw, assumed, (settled_us - begin_us) // BUCKET_1M_US, present_kw, period_min)
    if energy_kwh is None:
        return None
    elapsed_min = max(0.0, elapsed_min)
    rest_min = period_min - elapsed_min
    error_kw = persistence_error_kw(known_kw[-MEMORY_MINUTES:], math.ceil(rest_min) + assumed)
    of_block = min(assumed, elapsed_min)
    found = forecast_demand(
        energy_kwh + (0.0 if tail is None else tail.in_block_kwh),
        elapsed_min,
        present_kw,
        period_min=period_min,
        contract_kw=contract_kw,
        error_kw=None if error_kw is None else error_kw * (rest_min + of_block) / rest_min,
    )
    return replace(found, assumed_min=assumed)


def _unknown_at_end(minute_kw: FloatArray) -> int:
    known = np.flatnonzero(np.isfinite(minute_kw))
    return int(minute_kw.size - 1 - known[-1]) if known.size else minute_kw.size


def _energy_of_block(
    known_kw: FloatArray, assumed: int, minutes: int, present_kw: float, period_min: int
) -> float | None:
    """Energy [kWh] of a period of which so many settled minutes are over, None when too many of them are missing."""
    if minutes <= 0:
        return 0.0
    assumed = min(assumed, minutes)
    settled = minutes - assumed
    if known_kw.size < settled:
        return None
    of_block = known_kw[known_kw.size - settled :]
    known = np.isfinite(of_block)
    missing = settled - int(known.sum())
    if missing > period_min - math.ceil(TRUSTED_COVERAGE * period_min):
        return None
    like_kw = float(of_block[known].mean()) if known.any() else present_kw
    return (float(of_block[known].sum()) + missing * like_kw + assumed * present_kw) / 60


def forecast_demand(
    energy_kwh: float,
    elapsed_min: float,
    present_kw: float,
    *,
    period_min: float,
    contract_kw: float | None = None,
    error_kw: float | None = None,
) -> DemandForecast:
    """Return the forecast of a period of `period_min` [min] of which `elapsed_min` [min] are over.

    energy_kwh  drawn since it began [kWh]
    present_kw  mean power of the last minutes [kW]
    error_kw    deviation of the mean power in the rest from `present_kw` to be expected [kW]

    Raises ValueError when elapsed_min is not in [0, period_min).
    """
    if not 0 <= elapsed_min < period_min:
        raise ValueError(f"{elapsed_min} min are not inside a period of {period_min} min")
    rest_h = (period_min - elapsed_min) / 60
    period_h = period_min / 60
    headroom_kw = minutes_left = None
    if contract_kw is not None:
        left_kwh = contract_kw * period_h - energy_kwh
        headroom_kw = left_kwh / rest_h
        lasts_min = left_kwh / present_kw * 60 if present_kw > 0 else math.inf
        minutes_left = max(lasts_min, 0.0) if lasts_min < period_min - elapsed_min else period_min
    return DemandForecast(
        energy_kwh=energy_kwh,
        present_kw=present_kw,
        forecast_kw=(energy_kwh + present_kw * rest_h) / period_h,
        error_kw=None if error_kw is None else error_kw * rest_h / period_h,
        contract_kw=contract_kw,
        headroom_kw=headroom_kw,
        minutes_left=minutes_left,
    )


def persistence_error_kw(minute_kw: FloatArray, rest_min: int, *, trend_min: int = TREND_MINUTES) -> float | None:
    """Return how far the mean power of `rest_min` minutes was from that of the `trend_min` before them, as RMS [kW].

    minute_kw   float64[n] [kW], mean power of successive minutes up to now, NaN where unknown

    None when there were fewer than ten such pairs without a gap.
    """
    rest_min = max(rest_min, 1)
    if minute_kw.size < trend_min + rest_min:
        return None
    running_kw = np.concatenate(([0.0], np.cumsum(minute_kw)))
    if np.isnan(running_kw[-1]):
        windows = np.lib.stride_tricks.sliding_window_view(minute_kw, trend_min + rest_min)
        before, after = windows[:, :trend_min].mean(axis=1), windows[:, trend_min:].mean(axis=1)
    else:
        before = (running_kw[trend_min:] - running_kw[:-trend_min])[:-rest_min] / trend_min
        after = (running_kw[rest_min:] - running_kw[:-rest_min])[trend_min:] / rest_min
    deviation_kw = (after - before)[np.isfinite(after - before)]
    if deviation_kw.size < FEWEST_TRIALS:
        return None
    return float(np.sqrt(np.mean(np.square(deviation_kw))))
