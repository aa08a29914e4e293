"""From a plant's tariffs to prices on the time axis, and to what is charged by the month."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from emsd.energy.bill import ExcessBand, MonthlyTerms
from emsd.energy.power_factor import STANDARD_ADJUSTMENTS, adjustments_from_steps
from emsd.energy.series import datetime_to_us
from emsd.energy.tariff import MINUTES_PER_DAY, DaySchedule, PricePeriods, price_periods, with_added_prices
from emsd.plant.tariff import DynamicPrice, PowerFactorAdjustment, Tariff, TariffRate, minutes_of
from emsd.plant.tariff_calendar import DayKind, day_kind_of, schedule_key_of

__all__ = [
    "TariffSpan",
    "dynamic_price_holes",
    "monthly_terms",
    "prices_of",
    "rate_for",
    "schedule_of_rate",
    "tariff_spans",
]

_LONGEST_DYNAMIC_US = 3_600_000_000
"""The last of a list of dynamic prices holds as long as the one before it, at most an hour. In a list by the hour or
finer no price holds longer: where a day is missing, its price is not known."""


@dataclass(frozen=True, slots=True)
class TariffSpan:
    """A tariff and the local days [first, end) on which it applies; end is None while no end is known."""

    tariff: Tariff
    first: date
    end: date | None

    def until(self, last: date) -> date:
        """The day on which it ends, or `last` if that comes first."""
        return last if self.end is None else min(self.end, last)


def tariff_spans(tariffs: Sequence[Tariff]) -> list[TariffSpan]:
    """Return the tariffs in the order of their validity, each until its end or until the next one begins."""
    ordered = sorted(tariffs, key=lambda each: each.valid_from)
    begins = [each.valid_from for each in ordered[1:]]
    ends = [
        min((each.valid_to or date.max), begins[place] if place < len(begins) else date.max)
        for place, each in enumerate(ordered)
    ]
    return [
        TariffSpan(each, each.valid_from, None if end == date.max else end)
        for each, end in zip(ordered, ends, strict=True)
    ]


def prices_of(tariff: Tariff, first: date, end: date, zone: ZoneInfo) -> PricePeriods:
    """Return the prices of a tariff on the local days from `first` to the day before `end`.

    Raises:
        ValueError: its rates do not hold every minute of every day once; `emsd check` says where.
    """
    kind = day_kind_of(tariff.calendar, range(first.year, (end - timedelta(days=1)).year + 1 if end > first else 0))
    key_of = schedule_key_of(tariff, kind)
    schedules: dict[DayKind, DaySchedule] = {}

    def schedule(day: date) -> DaySchedule:
        key = key_of(day)
        if key not in schedules:
            rate = rate_for(tariff, key)
            if rate is None:
                raise ValueError(f"tariff {tariff.key} has no rate for {day}")
            schedules[key] = schedule_of_rate(rate)
        return schedules[key]

    periods = price_periods(first, end, zone, schedule)
    return _with_dynamic(periods, tariff.dynamic_prices) if tariff.dynamic_prices else periods


def rate_for(tariff: Tariff, key: DayKind) -> TariffRate | None:
    """Return the rate of a season and day type, None when there is none."""
    season, day_type = key
    for rate in tariff.rates:
        if (not rate.seasons or season in rate.seasons) and (not rate.day_types or day_type in rate.day_types):
            return rate
    return None


def schedule_of_rate(rate: TariffRate) -> DaySchedule:
    """Return the day of a rate, its stretches in order.

    Raises:
        ValueError: its hours do not hold every minute once.
    """
    stretches = sorted(
        (begin, end, place)
        for place, period in enumerate(rate.periods)
        for hours in period.hours
        for begin, end in minutes_of(hours)
    )
    edges = [begin for begin, _, _ in stretches] + [MINUTES_PER_DAY]
    if edges[0] != 0 or any(end != later for (_, end, _), later in zip(stretches, edges[1:], strict=True)):
        raise ValueError("its hours do not hold every minute of the day once")
    periods = [rate.periods[place] for _, _, place in stretches]
    return DaySchedule(
        tuple(edges[:-1]), tuple(each.name for each in periods), tuple(each.price_per_kwh for each in periods)
    )


def monthly_terms(tariff: Tariff) -> MonthlyTerms:
    """Return what a tariff charges by the month."""
    charge = tariff.demand_charge
    return MonthlyTerms(
        demand_basis=None if charge is None else charge.basis,
        demand_price_per_month=0.0 if charge is None else charge.price_per_month,
        contract_capacity_kva=None if charge is None else charge.contract_capacity_kva,
        demand_minimum_share=None if charge is None else charge.minimum_share_of_contract,
        demand_excess=()
        if charge is None
        else tuple(ExcessBand(each.above_share_of_contract, each.price_factor) for each in charge.excess),
        power_factor_percent=None if tariff.power_factor is None else _adjustments(tariff.power_factor),
        power_factor_rounds=tariff.power_factor is None or not tariff.power_factor.steps,
        fixed_per_month=tariff.fixed_per_month,
        tax_percent=tariff.tax_percent,
    )


def _adjustments(adjustment: PowerFactorAdjustment) -> tuple[float, ...]:
    if adjustment.steps:
        return adjustments_from_steps({each.from_power_factor: each.percent for each in adjustment.steps})
    return STANDARD_ADJUSTMENTS[adjustment.standard or 0.90]


def dynamic_price_holes(times: Sequence[datetime]) -> list[int]:
    """Return the places of the prices, in the order of time, that would hold for too long: after them some are missing.

    There are none in a list that changes less often than every hour.
    """
    steps_us = np.diff([datetime_to_us(each) for each in times])
    if not steps_us.size or np.median(steps_us) > _LONGEST_DYNAMIC_US:
        return []
    places: list[int] = np.flatnonzero(steps_us > _LONGEST_DYNAMIC_US).tolist()
    return places


def _with_dynamic(periods: PricePeriods, prices: Sequence[DynamicPrice]) -> PricePeriods:
    ordered = sorted(prices, key=lambda each: each.time)
    time_us = np.array([datetime_to_us(each.time) for each in ordered], dtype=np.int64)
    price = np.array([each.price_per_kwh for each in ordered])
    last_us = min(_LONGEST_DYNAMIC_US, int(time_us[-1] - time_us[-2])) if time_us.size > 1 else _LONGEST_DYNAMIC_US
    holes = np.array(dynamic_price_holes([each.time for each in ordered]), dtype=np.intp)
    begun_us = time_us[holes] + _LONGEST_DYNAMIC_US
    time_us = np.insert(np.append(time_us, time_us[-1] + last_us), holes + 1, begun_us)
    return with_added_prices(periods, time_us, np.insert(price, holes + 1, np.nan))
