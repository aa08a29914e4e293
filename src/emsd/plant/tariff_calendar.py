"""Which kind of day a local day is for a tariff: a day of the week, or a holiday."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from datetime import date, timedelta
from functools import lru_cache
from typing import Final, TypeAlias

from emsd.plant.tariff import DAY_NAMES, DayName, Tariff, TariffCalendar, TariffSeason, month_days_of

__all__ = ["DayKind", "day_kind_of", "holidays_exist_for", "is_in_season", "schedule_key_of"]

DayKind: TypeAlias = tuple[str | None, str | None]
"""Keys of season and day type; None where the tariff has none."""

_SATURDAY: Final = 5


def day_kind_of(calendar: TariffCalendar, years: Iterable[int]) -> Callable[[date], DayName]:
    """Return what says of a local day of these years which day of the week it is, or that it is a holiday.

    A make-up working day, on which people work although it is a weekend, counts as a Monday. Of a country whose
    government announces them year by year, such as China, the package `holidays` knows those that were announced when
    it was released; give later ones as `working_days` and `holidays`, or update it.
    """
    # A holiday may lie on the other side of the new year from the weekend next to it.
    wanted = {year + shift for year in years for shift in (-1, 0, 1)}
    public, moved = _public(calendar.country, calendar.subdivision, tuple(sorted(wanted)))
    free = public | frozenset(calendar.holidays)
    worked = frozenset(calendar.working_days) | (moved - frozenset(calendar.holidays))
    if calendar.with_adjoining_weekends:
        free |= set(_adjoining_weekends(free, worked))

    def kind(day: date) -> DayName:
        if day in worked:
            return "mon"
        return "holiday" if day in free else DAY_NAMES[day.weekday()]

    return kind


def holidays_exist_for(country: str, subdivision: str | None) -> bool:
    """Whether public holidays of a country, and of a part of it, are known."""
    try:
        _public(country, subdivision, (2026,))
    except NotImplementedError:
        return False
    return True


def schedule_key_of(tariff: Tariff, kind: Callable[[date], DayName]) -> Callable[[date], DayKind]:
    """Return what says of a local day which season and day type of a tariff it belongs to.

    A tariff that lists no holidays among its day types treats a holiday as the day of the week that it is.
    """
    of_name = {name: day_type.key for day_type in tariff.day_types for name in day_type.days}

    def key(day: date) -> DayKind:
        season = next((each.key for each in tariff.seasons if is_in_season(each, day)), None)
        name = kind(day)
        return season, of_name.get(name, of_name.get(DAY_NAMES[day.weekday()]))

    return key


def is_in_season(season: TariffSeason, day: date) -> bool:
    """Whether a day of any year lies in a season."""
    at = (day.month, day.day)
    for dates in season.dates:
        first, last = month_days_of(dates)
        if (first <= at <= last) if first <= last else (at >= first or at <= last):
            return True
    return False


def _adjoining_weekends(free: AbstractSet[date], worked: AbstractSet[date]) -> Iterator[date]:
    """Yield the days of weekends that lead up to a holiday or follow one without a day between them."""
    for holiday in free:
        for step in (timedelta(days=-1), timedelta(days=1)):
            day = holiday + step
            while day.weekday() >= _SATURDAY and day not in worked:
                yield day
                day += step


@lru_cache(maxsize=16)
def _public(
    country: str | None, subdivision: str | None, years: tuple[int, ...]
) -> tuple[frozenset[date], frozenset[date]]:
    """Public holidays, and weekends on which people work instead.

    Raises:
        NotImplementedError: there is no such country or part of it.
    """
    if country is None:
        return frozenset(), frozenset()
    import holidays  # it has every country of the world, which few plants need

    found = holidays.country_holidays(country, subdiv=subdivision, years=years)
    return frozenset(found), frozenset(found.weekend_workdays)
