"""Electricity tariffs as a person describes them: prices in local wall-clock time, and what is charged by the month.

A tariff is one version of the contract, from `valid_from` until the next one begins. Its local days are sorted into
seasons and day types; a rate says for some of them which period, at which price, holds at which hours.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Final, Literal, TypeAlias

from pydantic import AwareDatetime, Field

from emsd.plant.entry import Entry, Key

__all__ = [
    "DAY_NAMES",
    "MINUTES_PER_DAY",
    "DayName",
    "DemandBasis",
    "DemandCharge",
    "DemandExcess",
    "DynamicPrice",
    "MonthDay",
    "PowerFactorAdjustment",
    "PowerFactorStep",
    "Tariff",
    "TariffCalendar",
    "TariffDayType",
    "TariffPeriod",
    "TariffRate",
    "TariffSeason",
    "minutes_of",
    "month_days_of",
]

DemandBasis: TypeAlias = Literal["maximum_demand", "contract_demand", "contract_capacity"]
MINUTES_PER_DAY: Final = 1440
DayName: TypeAlias = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun", "holiday"]
DAY_NAMES: Final[tuple[DayName, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun", "holiday")
MonthDay: TypeAlias = tuple[int, int]
"""Month and day of the month."""

_HOURS: Final = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")
_DATES: Final = re.compile(r"(\d{2})-(\d{2})\s*\.\.\s*(\d{2})-(\d{2})")


class TariffCalendar(Entry):
    """Which days are holidays; without it no day is one."""

    country: str | None = Field(
        default=None, description="Public holidays of this country, ISO 3166-1 alpha-2, such as CN or DE."
    )
    subdivision: str | None = Field(
        default=None, description="And of this part of it, ISO 3166-2 without the country, such as BY."
    )
    with_adjoining_weekends: bool = Field(
        default=False, description="Weekends next to a holiday are holidays too, as the notices of China have it."
    )
    holidays: tuple[date, ...] = Field(default=(), description="Further holidays.")
    working_days: tuple[date, ...] = Field(
        default=(), description="Days that count as a Monday whatever else they are, such as make-up working days."
    )


class TariffSeason(Entry):
    """A part of the year with prices of its own; together the seasons hold every day of the year once."""

    key: Key
    dates: tuple[str, ...] = Field(
        min_length=1, description="First and last day, month-day: 07-01..08-31; one may go over the new year."
    )


class TariffDayType(Entry):
    """Days with prices of their own; together the day types hold every day of the week once."""

    key: Key
    days: tuple[DayName, ...] = Field(
        min_length=1, description="Among mon, tue, wed, thu, fri, sat, sun and holiday; a holiday is only that."
    )


class TariffPeriod(Entry):
    """A time-of-use period: its hours and its price."""

    name: Key = Field(description="What it is called on the bill: peak, flat, valley, sharp, ...")
    hours: tuple[str, ...] = Field(
        min_length=1, description="Local wall-clock time: 10:00-12:00; one may go over midnight: 23:00-07:00."
    )
    price_per_kwh: float = Field(ge=-100, le=1000, description="Price of energy drawn [currency/kWh].")


class TariffRate(Entry):
    """The periods of the days of some seasons and day types; their hours hold every minute of the day once."""

    seasons: tuple[Key, ...] = Field(default=(), description="Seasons it is for; absent: all.")
    day_types: tuple[Key, ...] = Field(default=(), description="Day types it is for; absent: all.")
    periods: tuple[TariffPeriod, ...] = Field(min_length=1, description="Time-of-use periods.")


class DynamicPrice(Entry):
    """A price of an exchange, from its time until the next one's; in a list by the hour for an hour at most."""

    time: AwareDatetime = Field(description="Instant from which it holds, with its offset.")
    price_per_kwh: float = Field(ge=-100, le=1000, description="[currency/kWh], added to that of the rates.")


class DemandExcess(Entry):
    """A band of demand above the agreed one, up to where the next band begins."""

    above_share_of_contract: float = Field(
        ge=1, le=10, description="Share of the agreed demand above which it begins: 1.05 is 105 %."
    )
    price_factor: float = Field(gt=0, le=100, description="What a kW in it costs, as a multiple of price_per_month.")


class DemandCharge(Entry):
    """What is paid each month for the power that is held ready."""

    basis: DemandBasis = Field(
        description="maximum_demand: the month's highest block [kW]; contract_demand: the agreed demand [kW]; "
        "contract_capacity: the transformers [kVA]."
    )
    price_per_month: float = Field(ge=0, description="[currency/kW], for contract_capacity [currency/kVA].")
    contract_capacity_kva: float | None = Field(default=None, gt=0, description="For contract_capacity [kVA].")
    minimum_share_of_contract: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="For maximum_demand: at least this share of the agreed demand is billed; absent: what was drawn.",
    )
    excess: tuple[DemandExcess, ...] = Field(
        default=(),
        description="Bands of the month's highest block above the agreed demand, each with its multiple of the price;"
        " not for contract_capacity. Absent: it costs like the rest, and nothing with contract_demand.",
    )


class PowerFactorStep(Entry):
    """One line of a table of adjustments."""

    from_power_factor: float = Field(
        ge=0, le=1, description="Lowest power factor for which it holds, with two decimals at most; not rounded up to."
    )
    percent: float = Field(ge=-100, le=500, description="Change of energy and demand charge [%]; less than 0 reduces.")


class PowerFactorAdjustment(Entry):
    """How the month's mean power factor changes the bill: by a published table, or by steps of one's own."""

    standard: float | None = Field(
        default=None, description="0.90, 0.85 or 0.80: the table of China of that standard (1983, No. 215)."
    )
    steps: tuple[PowerFactorStep, ...] = Field(default=(), description="Or: lines of a table of your own.")


class Tariff(Entry):
    """One version of the contract for electricity; prices are without the tax that tax_percent adds."""

    key: Key
    name: str = Field(min_length=1, description="What people call it.")
    valid_from: date = Field(description="First local day on which it applies.")
    valid_to: date | None = Field(
        default=None, description="First local day on which it no longer applies; absent: until the next one begins."
    )
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217, such as CNY or EUR.")
    source: str = Field(default="", description="The contract or the notice that it is taken from.")
    calendar: TariffCalendar = Field(default=TariffCalendar(), description="Holidays and make-up working days.")
    seasons: tuple[TariffSeason, ...] = Field(default=(), description="Parts of the year; absent: all of it is one.")
    day_types: tuple[TariffDayType, ...] = Field(default=(), description="Kinds of days; absent: all are alike.")
    rates: tuple[TariffRate, ...] = Field(min_length=1, description="Prices by season and day type.")
    dynamic_prices_csv: tuple[str, ...] = Field(
        default=(),
        description="Lists of further prices that change by the hour, relative to this file: time,price_per_kwh.",
    )
    dynamic_prices: tuple[DynamicPrice, ...] = Field(default=(), description="The same, written here.")
    levy_per_kwh: float = Field(
        default=0.0, ge=0, le=100, description="On every kWh drawn, which no power factor changes [currency/kWh]."
    )
    feed_in_per_kwh: float | None = Field(
        default=None, ge=-100, le=100, description="Paid to you for energy given to the grid [currency/kWh]."
    )
    demand_charge: DemandCharge | None = Field(default=None, description="Monthly charge for power.")
    power_factor: PowerFactorAdjustment | None = Field(default=None, description="Adjustment by power factor.")
    fixed_per_month: float = Field(default=0.0, ge=0, description="Whatever is used [currency].")
    tax_percent: float = Field(default=0.0, ge=0, le=100, description="On everything but what is fed in [%].")


def minutes_of(hours: str) -> list[tuple[int, int]]:
    """Return the stretches [from, to) of a local day [min] that `10:00-12:00` or, over midnight, `23:00-07:00` is.

    Raises:
        ValueError: it is not such a text.
    """
    match = _HOURS.fullmatch(hours.strip())
    if match is None:
        raise ValueError("is not a time such as 10:00-12:00")
    from_hour, from_minute, to_hour, to_minute = map(int, match.groups())
    if max(from_minute, to_minute) > 59:
        raise ValueError("has a minute beyond 59")
    begin, end = from_hour * 60 + from_minute, to_hour * 60 + to_minute
    if begin >= MINUTES_PER_DAY or end > MINUTES_PER_DAY:
        raise ValueError("is not within 00:00-24:00")
    if begin == end:
        raise ValueError("is empty")
    if begin < end:
        return [(begin, end)]
    return [(begin, MINUTES_PER_DAY), *([(0, end)] if end else [])]


def month_days_of(dates: str) -> tuple[MonthDay, MonthDay]:
    """Return the first and the last day that `07-01..08-31` names; the last may come before the first.

    Raises:
        ValueError: it is not such a text, or one of the days does not exist in a leap year.
    """
    match = _DATES.fullmatch(dates.strip())
    if match is None:
        raise ValueError("is not a range such as 07-01..08-31")
    first_month, first_day, last_month, last_day = map(int, match.groups())
    for month, day in ((first_month, first_day), (last_month, last_day)):
        try:
            date(2000, month, day)
        except ValueError:
            raise ValueError(f"names {month:02}-{day:02}, which no year has") from None
    return (first_month, first_day), (last_month, last_day)
