"""A tariff and a bill as a person checks them in a terminal: colours for periods, a letter for each kind of day."""

from __future__ import annotations

from calendar import day_name, month_abbr
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from string import ascii_uppercase
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from emsd.energy.series import BUCKET_15M_US, US_PER_HOUR, datetime_from_us
from emsd.energy.tariff import MINUTES_PER_DAY, DaySchedule, PricePeriods
from emsd.energy.windows import local_day_edges
from emsd.plant.tariff import Tariff
from emsd.plant.tariff_calendar import DayKind, day_kind_of, schedule_key_of
from emsd.plant.tariff_prices import TariffSpan, prices_of, rate_for, schedule_of_rate, tariff_spans
from emsd.store.cost import WindowCost
from emsd.store.plant_view import PlantView

__all__ = ["bill_view", "day_view", "year_view"]

_COLOURS: Final = ("red", "dark_orange", "yellow3", "green3", "deep_sky_blue2", "blue", "purple", "grey62")
"""From the dearest period to the cheapest."""
_HALF_HOURS: Final = 48
_Kind = tuple[str, DayKind]
"""Key of a tariff, and season and day type in it."""


def year_view(tariffs: Sequence[Tariff], year: int, zone: ZoneInfo) -> Group:
    """Return a year as a calendar in which every kind of day has its letter, and the prices of each kind."""
    first, end = date(year, 1, 1), date(year + 1, 1, 1)
    kinds, schedules = _days_of(tariff_spans(tariffs), first, end)
    letters = {kind: ascii_uppercase[place % 26] for place, kind in enumerate(schedules)}
    colours = _colours(_prices(schedules.values()))
    parts: list[RenderableType] = [Text(f"{year}, {zone.key}", style="bold"), _calendar(year, kinds, letters)]
    counts = Counter(kinds.values())
    for kind, schedule in schedules.items():
        tariff, (season, day_type) = kind
        named = ", ".join(each for each in (tariff, season, day_type) if each)
        title = Text(f"{letters[kind]}  {named}: {counts[kind]} days", style="bold")
        parts.append(Padding(title, (1, 0, 0, 0), expand=False))
        parts.append(_strip(schedule, colours))
        parts.append(Padding(_hours(schedule, colours), (0, 0, 0, 3), expand=False))
    parts.append(Padding(_legend(_prices(schedules.values()), colours), (1, 0, 0, 0), expand=False))
    uncovered = (end - first).days - len(kinds)
    if uncovered:
        parts.append(Text(f"{uncovered} days of the year have no tariff", style="yellow"))
    return Group(*parts)


def day_view(tariffs: Sequence[Tariff], day: date, zone: ZoneInfo) -> Group:
    """Return the periods of one local day with their prices, exact on the days of a changed clock."""
    begin_us, end_us = local_day_edges(day, day + timedelta(days=1), zone).tolist()
    hours = (end_us - begin_us) / US_PER_HOUR
    title = Text(f"{day} {day_name[day.weekday()]}, {hours:g} h, {zone.key}", style="bold")
    span = next((each for each in tariff_spans(tariffs) if each.first <= day < each.until(date.max)), None)
    if span is None:
        return Group(title, Text("no tariff applies on this day", style="yellow"))
    tariff = span.tariff
    season, day_type = schedule_key_of(tariff, day_kind_of(tariff.calendar, (day.year,)))(day)
    named = ", ".join(each for each in (tariff.name, season, day_type) if each)
    periods = prices_of(tariff, day, day + timedelta(days=1), zone)
    lowest: dict[str, float] = {}
    for place, price in zip(periods.period.tolist(), periods.price_per_kwh.tolist(), strict=True):
        name = periods.names[place]
        lowest[name] = min(price, lowest.get(name, price))
    colours = _colours(lowest)
    bar = _quarters(periods, begin_us, end_us, colours)
    return Group(title, Text(named), bar, _stretches(tariff, periods, zone, colours))


def bill_view(plant: PlantView, currency: str, found: WindowCost) -> Group:
    """Return what a month's energy cost, and its bill."""
    window, cost = found.window, found.cost
    local = window.from_.astimezone(plant.zone)
    title = Text(f"{plant.site.name}, {local:%B %Y}" + ("" if window.complete else ", so far"), style="bold")
    table = Table("Period", title_justify="left")
    for name in ("kWh", f"{currency}/kWh", currency):
        table.add_column(name, justify="right")
    for each in cost.periods:
        table.add_row(each.period, _shown(each.energy_kwh, 1), _shown(each.price_per_kwh, 4), _shown(each.cost, 2))
    table.add_section()
    table.add_row("energy", _shown(cost.drawn_kwh, 1), "", _shown(cost.cost, 2))
    if found.bill is not None:
        for name, amount, value in _lines(found):
            table.add_row(name, amount, "", value)
    known = f"coverage {cost.coverage:.1%}"
    if cost.priced_share is not None:
        known += f", {cost.priced_share:.1%} of the energy has a price"
    if cost.estimated_share is not None:
        known += f", {cost.estimated_share:.1%} is estimated"
    notes: list[RenderableType] = [Text(known, style="dim")]
    if found.bill is None:
        notes.append(Text("no bill: no tariff applied when the month began", style="yellow"))
    elif found.bill.untrusted_blocks and found.bill.bill.demand_billed is not None:
        notes.append(Text(f"{found.bill.untrusted_blocks} settlement periods are not known well enough", style="dim"))
    if found.bill is not None and found.bill.reactive is not None and found.bill.reactive.source == "power":
        notes.append(Text("reactive energy is integrated from reactive power: there is no counter", style="dim"))
    return Group(title, table, *notes)


def _lines(found: WindowCost) -> Iterator[tuple[str, str, str]]:
    """Yield the lines of a bill: name, amount, money."""
    if found.bill is None:
        return
    made, tariff = found.bill.bill, found.bill.tariff
    terms = None if tariff is None else tariff.terms
    yield "levies", "", _shown(made.levies, 2)
    if terms is not None and terms.demand_basis is not None:
        unit = "kVA" if terms.demand_basis == "contract_capacity" else "kW"
        yield "demand charge", f"{_shown(made.demand_billed, 1)} {unit}", _shown(made.demand_charge, 2)
        if terms.demand_excess:
            yield "demand surcharge", f"{_shown(made.demand_excess_kw, 1)} {unit}", _shown(made.demand_surcharge, 2)
    if terms is not None and terms.power_factor_percent is not None:
        yield (
            f"power factor {_shown(made.power_factor, 3)}",
            f"{_shown(made.power_factor_percent, 2)} %",
            _shown(made.power_factor_adjustment, 2),
        )
    if made.fixed_charge:
        yield "fixed charge", "", _shown(made.fixed_charge, 2)
    yield "tax", "" if terms is None else f"{terms.tax_percent:g} %", _shown(made.tax, 2)
    if made.feed_in_credit is not None:
        yield "feed-in", f"{_shown(found.cost.given_kwh, 1)} kWh", _shown(-made.feed_in_credit, 2)
    yield "total", "", _shown(made.total, 2)


def _shown(value: float | None, decimals: int) -> str:
    return "unknown" if value is None else f"{value:,.{decimals}f}"


def _days_of(spans: Sequence[TariffSpan], first: date, end: date) -> tuple[dict[date, _Kind], dict[_Kind, DaySchedule]]:
    """Return the kind of every day that has a tariff, and the schedule of each kind in order of appearance."""
    kinds: dict[date, _Kind] = {}
    schedules: dict[_Kind, DaySchedule] = {}
    for span in spans:
        key_of = schedule_key_of(span.tariff, day_kind_of(span.tariff.calendar, (first.year,)))
        day = max(first, span.first)
        while day < span.until(end):
            kind = (span.tariff.key, key_of(day))
            rate = rate_for(span.tariff, kind[1])
            if rate is not None:
                kinds[day] = kind
                schedules.setdefault(kind, schedule_of_rate(rate))
            day += timedelta(days=1)
    return kinds, schedules


def _calendar(year: int, kinds: Mapping[date, _Kind], letters: Mapping[_Kind, str]) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_row("", *(Text(f"{number:2}", style="dim") for number in range(1, 32)))
    styles = {kind: _COLOURS[place % len(_COLOURS)] for place, kind in enumerate(letters)}
    for month in range(1, 13):
        cells: list[Text] = []
        day = date(year, month, 1)
        while day.month == month:
            kind = kinds.get(day)
            cells.append(
                Text(" -" if kind is None else f" {letters[kind]}", style="" if kind is None else styles[kind])
            )
            day += timedelta(days=1)
        table.add_row(month_abbr[month], *cells)
    return table


def _prices(schedules: Iterable[DaySchedule]) -> dict[str, float]:
    """Return the lowest price of each period that some days have."""
    found: dict[str, float] = {}
    for schedule in schedules:
        for name, price in zip(schedule.period, schedule.price_per_kwh, strict=True):
            found[name] = min(price, found.get(name, price))
    return found


def _colours(prices: Mapping[str, float]) -> dict[str, str]:
    ordered = sorted(prices, key=lambda name: -prices[name])
    return {name: _COLOURS[min(place, len(_COLOURS) - 1)] for place, name in enumerate(ordered)}


def _strip(schedule: DaySchedule, colours: Mapping[str, str]) -> Text:
    """A day as 48 half hours."""
    text = Text("   00 ")
    edges = (*schedule.from_minute[1:], MINUTES_PER_DAY)
    for half_hour in range(_HALF_HOURS):
        place = next(number for number, edge in enumerate(edges) if half_hour * 30 < edge)
        text.append("█", style=colours[schedule.period[place]])
    text.append(" 24")
    return text


def _hours(schedule: DaySchedule, colours: Mapping[str, str]) -> Text:
    """The stretches of a day with their prices."""
    text = Text()
    for start, name, price in zip(schedule.from_minute, schedule.period, schedule.price_per_kwh, strict=True):
        text.append(f"{start // 60:02}:{start % 60:02} ")
        text.append(name, style=colours[name])
        text.append(f" {price:g}  ")
    return text


def _legend(prices: Mapping[str, float], colours: Mapping[str, str]) -> Text:
    text = Text("   ")
    for name in sorted(prices, key=lambda each: -prices[each]):
        text.append(f"██ {name}  ", style=colours[name])
    return text


def _quarters(periods: PricePeriods, begin_us: int, end_us: int, colours: Mapping[str, str]) -> Text:
    """A day as its quarter hours, 92, 96 or 100."""
    text = Text()
    for quarter_us in range(begin_us, end_us, BUCKET_15M_US):
        place = int(periods.places(np.array([quarter_us], dtype=np.int64))[0])
        text.append("█", style=colours[periods.names[int(periods.period[place])]])
    return text


def _stretches(tariff: Tariff, periods: PricePeriods, zone: ZoneInfo, colours: Mapping[str, str]) -> Table:
    table = Table("From", "To", "Hours", "Period", f"{tariff.currency}/kWh")
    columns = (
        periods.from_us.tolist(),
        periods.to_us.tolist(),
        periods.period.tolist(),
        periods.price_per_kwh.tolist(),
    )
    for from_us, to_us, place, price in zip(*columns, strict=True):
        name = periods.names[place]
        begin, end = (datetime_from_us(each).astimezone(zone) for each in (from_us, to_us))
        hours = f"{(to_us - from_us) / US_PER_HOUR:g}"
        table.add_row(f"{begin:%H:%M %z}", f"{end:%H:%M %z}", hours, Text(name, style=colours[name]), f"{price:g}")
    return table
