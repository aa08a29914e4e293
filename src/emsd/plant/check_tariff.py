"""Checks of tariffs: every minute of every day has one price, every validity follows the one before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from itertools import pairwise, product

from emsd.plant.draft import Draft
from emsd.plant.source import Finding, Where, list_or_hint
from emsd.plant.tariff import (
    DAY_NAMES,
    MINUTES_PER_DAY,
    DemandCharge,
    PowerFactorAdjustment,
    Tariff,
    TariffPeriod,
    minutes_of,
    month_days_of,
)
from emsd.plant.tariff_calendar import holidays_exist_for, is_in_season
from emsd.plant.tariff_prices import dynamic_price_holes

__all__ = ["check_tariffs", "tariff_warnings"]

_STANDARDS = (0.90, 0.85, 0.80)
_LEAP_YEAR = [date(2000, 1, 1) + timedelta(days=number) for number in range(366)]
_QUARTER_MIN = 15
_SAME = 1e-9


def check_tariffs(draft: Draft) -> Iterator[Finding]:
    """Find hours that overlap or are missing, unknown seasons and day types, and gaps of validity."""
    for index, tariff in draft.tariffs.items():
        at: Where = ("tariffs", index)
        yield from _seasons(at, tariff)
        yield from _day_types(at, tariff)
        yield from _calendar(draft, at, tariff)
        yield from _rates(at, tariff)
        yield from _charges(draft, at, tariff)
        yield from _dynamic(at, tariff)
    yield from _validity(draft)
    yield from _contract(draft)


def tariff_warnings(draft: Draft) -> Iterator[Finding]:
    """Find hours that cut a quarter hour, which is then priced minute by minute, and holes in lists of prices."""
    for index, tariff in draft.tariffs.items():
        yield from _holes(("tariffs", index, "dynamic_prices"), tariff)
        for number, rate in enumerate(tariff.rates):
            for place, period in enumerate(rate.periods):
                for nth, hours in enumerate(period.hours):
                    if any(minute % _QUARTER_MIN for stretch in minutes_of(hours) for minute in stretch):
                        where = ("tariffs", index, "rates", number, "periods", place, "hours", nth)
                        problem = f"{hours} begins or ends within a quarter hour"
                        cure = "dashboards price that quarter hour as it begins; the API goes by its minutes"
                        yield Finding(where, problem, cure)


def _seasons(at: Where, tariff: Tariff) -> Iterator[Finding]:
    sound = True
    for index, season in enumerate(tariff.seasons):
        for place, dates in enumerate(season.dates):
            try:
                month_days_of(dates)
            except ValueError as error:
                sound = False
                where = (*at, "seasons", index, "dates", place)
                yield Finding(where, f'"{dates}" {error}', "write month-day..month-day, both included")
    if not tariff.seasons or not sound:
        return
    for day in _LEAP_YEAR:
        holding = [place for place, season in enumerate(tariff.seasons) if is_in_season(season, day)]
        if not holding:
            yield Finding((*at, "seasons"), f"leave {day:%m-%d} in no season", "let one of them hold it")
            return
        if len(holding) > 1:
            problem = f"holds {day:%m-%d}, which is in season {tariff.seasons[holding[0]].key} too"
            yield Finding((*at, "seasons", holding[1], "dates"), problem, "let seasons not overlap")
            return


def _day_types(at: Where, tariff: Tariff) -> Iterator[Finding]:
    taken: dict[str, str] = {}
    for index, day_type in enumerate(tariff.day_types):
        for place, name in enumerate(day_type.days):
            if name in taken:
                where = (*at, "day_types", index, "days", place)
                yield Finding(where, f"{name} is in day type {taken[name]} already", "let each day be in one of them")
            taken.setdefault(name, day_type.key)
    missing = [name for name in DAY_NAMES[:7] if name not in taken]
    if tariff.day_types and missing:
        yield Finding((*at, "day_types"), f"leave out {', '.join(missing)}", "let one of them hold every day")
    calendar = tariff.calendar
    if "holiday" in taken and calendar.country is None and not calendar.holidays:
        where = (*at, "calendar")
        yield Finding(where, "names no holidays, but a day type is for them", "give country, or list holidays")


def _calendar(draft: Draft, at: Where, tariff: Tariff) -> Iterator[Finding]:
    calendar = tariff.calendar
    if calendar.country is None:
        if calendar.subdivision is not None:
            yield Finding((*at, "calendar", "country"), "is missing", "name the country of the subdivision")
        return
    if not holidays_exist_for(calendar.country, None):
        where = (*at, "calendar", "country")
        problem = f"{draft.source.shown(where, calendar.country)}has no known holidays"
        yield Finding(where, problem, "write its ISO 3166-1 alpha-2 code, or list holidays instead")
    elif calendar.subdivision is not None and not holidays_exist_for(calendar.country, calendar.subdivision):
        where = (*at, "calendar", "subdivision")
        problem = f"{draft.source.shown(where, calendar.subdivision)}is no part of {calendar.country} that has its own"
        yield Finding(where, problem, "leave it out, or write its ISO 3166-2 code without the country")


def _rates(at: Where, tariff: Tariff) -> Iterator[Finding]:
    known = {
        "seasons": [season.key for season in tariff.seasons],
        "day_types": [day_type.key for day_type in tariff.day_types],
    }
    for index, rate in enumerate(tariff.rates):
        for field, keys in known.items():
            for place, key in enumerate(getattr(rate, field)):
                if key not in keys:
                    what = field.replace("_", " ")
                    where = (*at, "rates", index, field, place)
                    yield Finding(where, f'"{key}" is not among the {what}', list_or_hint(key, keys, what))
        yield from _hours((*at, "rates", index, "periods"), rate.periods)
    seasons: list[str | None] = [*known["seasons"]] or [None]
    day_types: list[str | None] = [*known["day_types"]] or [None]
    for season, day_type in product(seasons, day_types):
        meant = [
            place
            for place, rate in enumerate(tariff.rates)
            if (not rate.seasons or season in rate.seasons) and (not rate.day_types or day_type in rate.day_types)
        ]
        days = " ".join(each for each in (season, day_type) if each) or "every day"
        if not meant:
            yield Finding((*at, "rates"), f"have no price for {days}", "add a rate for it")
        elif len(meant) > 1:
            where = (*at, "rates", meant[1])
            yield Finding(
                where, f"is for {days}, as rates[{meant[0]}] is", "narrow one of them by seasons or day_types"
            )


def _hours(at: Where, periods: Sequence[TariffPeriod]) -> Iterator[Finding]:
    """Find minutes of a day that belong to no period, or to two."""
    stretches: list[tuple[int, int, Where, str]] = []
    for index, period in enumerate(periods):
        for place, hours in enumerate(period.hours):
            where = (*at, index, "hours", place)
            try:
                stretches.extend((begin, end, where, f"{period.name} {hours}") for begin, end in minutes_of(hours))
            except ValueError as error:
                yield Finding(where, f'"{hours}" {error}', "write it in 24-hour time, such as 10:00-12:00")
                return
    stretches.sort(key=lambda each: each[:2])
    for (_, end, _, name), (begin, _, where, _) in pairwise(stretches):
        if begin < end:
            yield Finding(where, f"{_clock(begin)} belongs to {name} already", "let periods not overlap")
            return
    edges = [(0, 0), *((begin, end) for begin, end, _, _ in stretches), (MINUTES_PER_DAY, MINUTES_PER_DAY)]
    for (_, end), (begin, _) in pairwise(edges):
        if end < begin:
            yield Finding(at, f"leave {_clock(end)}-{_clock(begin)} without a price", "let a period hold these hours")
            return


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _charges(draft: Draft, at: Where, tariff: Tariff) -> Iterator[Finding]:
    if tariff.demand_charge is not None:
        yield from _demand_charge(draft, (*at, "demand_charge"), tariff.demand_charge)
    adjustment = tariff.power_factor
    if adjustment is None:
        return
    if (adjustment.standard is None) == (not adjustment.steps):
        yield Finding((*at, "power_factor"), "needs a standard or steps, not both", "keep one of them")
    elif adjustment.standard is not None and adjustment.standard not in _STANDARDS:
        where = (*at, "power_factor", "standard")
        yield Finding(where, f"{adjustment.standard:g} is not 0.90, 0.85 or 0.80", "or give steps of your own")
    yield from _steps((*at, "power_factor", "steps"), adjustment)


def _demand_charge(draft: Draft, at: Where, charge: DemandCharge) -> Iterator[Finding]:
    if charge.basis == "contract_capacity" and charge.contract_capacity_kva is None:
        yield Finding((*at, "contract_capacity_kva"), "is missing", "give the transformers' kVA")
    by_contract = charge.basis == "contract_demand" or charge.minimum_share_of_contract is not None or charge.excess
    if by_contract and draft.site is not None and draft.site.contract_demand_kw is None:
        yield Finding(("site", "contract_demand_kw"), "is missing", "the demand charge of a tariff goes by it")
    if charge.minimum_share_of_contract is not None and charge.basis != "maximum_demand":
        problem = f"has no meaning with basis {charge.basis}, which no demand is measured for"
        yield Finding((*at, "minimum_share_of_contract"), problem, "leave it out, or write basis: maximum_demand")
    if charge.excess and charge.basis == "contract_capacity":
        problem = "is in kW, and basis contract_capacity is charged by kVA"
        yield Finding((*at, "excess"), problem, "leave it out, or choose another basis")
    for number, (lower, upper) in enumerate(pairwise(charge.excess), start=1):
        if upper.above_share_of_contract <= lower.above_share_of_contract:
            problem = f"{upper.above_share_of_contract:g} is not above {lower.above_share_of_contract:g} before it"
            yield Finding((*at, "excess", number, "above_share_of_contract"), problem, "list bands from below upwards")


def _steps(at: Where, adjustment: PowerFactorAdjustment) -> Iterator[Finding]:
    seen: set[int] = set()
    for number, step in enumerate(adjustment.steps):
        where = (*at, number, "from_power_factor")
        hundredths = round(step.from_power_factor * 100)
        if abs(step.from_power_factor * 100 - hundredths) > _SAME:
            yield Finding(where, f"{step.from_power_factor:g} has more than two decimals", "write hundredths, as 0.93")
        elif hundredths in seen:
            yield Finding(where, f"{step.from_power_factor:g} has a step already", "keep one step for each")
        seen.add(hundredths)


def _dynamic(at: Where, tariff: Tariff) -> Iterator[Finding]:
    seen: dict[object, int] = {}
    for index, each in enumerate(tariff.dynamic_prices):
        if each.time in seen:
            where = (*at, "dynamic_prices", index, "time")
            yield Finding(where, f"{each.time.isoformat()} has a price already", "keep one price for each time")
        seen.setdefault(each.time, index)


def _holes(at: Where, tariff: Tariff) -> Iterator[Finding]:
    """Find the first time for which a list of prices by the hour has none."""
    ordered = sorted(enumerate(tariff.dynamic_prices), key=lambda each: each[1].time)
    holes = dynamic_price_holes([price.time for _, price in ordered])
    if holes:
        number, price = ordered[holes[0]]
        until = ordered[holes[0] + 1][1].time
        problem = f"{price.time.isoformat()} holds for an hour, and the next price begins at {until.isoformat()}"
        more = f"; {len(holes) - 1} more holes like it" if len(holes) > 1 else ""
        cure = "add the prices between; the cost of that time is not known"
        yield Finding((*at, number, "time"), problem + more, cure)


def _validity(draft: Draft) -> Iterator[Finding]:
    ordered = sorted(draft.tariffs.items(), key=lambda indexed: indexed[1].valid_from)
    for index, tariff in ordered:
        if tariff.valid_to is not None and tariff.valid_to <= tariff.valid_from:
            problem = f"{tariff.valid_to} is not after valid_from {tariff.valid_from}"
            yield Finding(("tariffs", index, "valid_to"), problem, "write the first day on which it no longer applies")
    for (_, earlier), (index, later) in pairwise(ordered):
        where = ("tariffs", index, "valid_from")
        if earlier.valid_from == later.valid_from:
            yield Finding(where, f"{later.valid_from} is that of {earlier.key} too", "let one of them begin later")
        elif earlier.valid_to is not None and earlier.valid_to < later.valid_from:
            problem = f"leaves {earlier.valid_to} to {later.valid_from} without a tariff"
            yield Finding(where, problem, f"remove valid_to of {earlier.key}, or add a tariff between them")
        elif earlier.valid_to is not None and earlier.valid_to > later.valid_from:
            problem = f"{later.valid_from} overlaps {earlier.key}, which is valid to {earlier.valid_to}"
            yield Finding(where, problem, f"end that one with valid_to: {later.valid_from}, or leave its valid_to out")
        if earlier.currency != later.currency:
            problem = f"{later.currency} differs from {earlier.currency} of {earlier.key}"
            yield Finding(("tariffs", index, "currency"), problem, "one site's costs are in one currency")


def _contract(draft: Draft) -> Iterator[Finding]:
    site = draft.site
    if site is None:
        return
    changes = site.contract_demand_changes
    if changes and site.contract_demand_kw is None:
        yield Finding(
            ("site", "contract_demand_kw"), "is missing", "give the demand that was agreed before the changes"
        )
    for number, (earlier, later) in enumerate(pairwise(changes), start=1):
        if later.valid_from <= earlier.valid_from:
            where = ("site", "contract_demand_changes", number, "valid_from")
            yield Finding(where, f"{later.valid_from} is not after {earlier.valid_from}", "list changes in their order")
