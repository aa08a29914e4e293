"""An explanation of energy as a person reads it in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from emsd.api.explained.energy import rules_in_words
from emsd.api.explained.schemas import (
    CheckSum,
    ExplainedDirection,
    ExplainedEnergy,
    ExplainedGap,
    ExplainedMeter,
    ExplainedReading,
    ExplainedSpecial,
)
from emsd.cli.explain_tree import heading, local_time

__all__ = ["energy_view"]


def energy_view(explained: ExplainedEnergy) -> Group:
    """Return the report: each meter with what its figure rests on, and the carbon factors."""
    zone = ZoneInfo(explained.time_zone)
    parts: list[RenderableType] = [*heading(explained)]
    for meter in explained.meters:
        parts += _meter(meter, zone)
    if explained.factors:
        parts.append(_factors(explained, zone))
    return Group(*parts)


def _meter(meter: ExplainedMeter, zone: ZoneInfo) -> Iterator[RenderableType]:
    title = f"Meter [green]{escape(meter.meter)}[/green] {escape(meter.name)}, {' and '.join(meter.roles)}"
    yield Padding(title, (1, 0, 0, 0))
    if meter.expression is not None:
        yield f"  virtual: {escape(meter.expression)}"
    if meter.rules is not None:
        yield f"  rules     {rules_in_words(meter.rules)}"
    for version in meter.versions:
        name = "before versions were recorded" if version.version is None else f"version {version.version}"
        today = ", the rules of today" if version.is_todays else ", not the rules of today"
        yield f"  made by   {name} ({version.quarter_hours} quarter hours{today})"
    if meter.events:
        table = Table("Event", "Time", "Kind", "What it says", "Author", "Note", title="Events", title_justify="left")
        for event in meter.events:
            detail = "\n".join(_flat(event.detail))
            cells = (str(event.event_id), local_time(event.time, zone), event.kind, detail, event.author, event.note)
            table.add_row(*(escape(cell) for cell in cells))
        yield Padding(table, (1, 0, 0, 2), expand=False)
    for direction in meter.directions:
        yield from _direction(direction, zone)


def _flat(detail: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in detail.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name} ")
        else:
            yield f"{above}{name} {value}"


def _direction(each: ExplainedDirection, zone: ZoneInfo) -> Iterator[RenderableType]:
    agrees = (
        "the interval tables say the same"
        if each.agrees
        else f"[red]the interval tables say {_kwh(each.stored_kwh)}[/red]"
    )
    yield Padding(f"[bold]{each.direction} {_kwh(each.figure_kwh)} kWh[/bold], {agrees}", (1, 0, 0, 2))
    if each.remark:
        yield f"  {escape(each.remark)}"
    unit = "kWh" if each.source == "counter" else "kW"
    for name, reading in (("first", each.first), ("last", each.last)):
        if reading is not None:
            yield f"  {name:<5} reading {_reading(reading, zone)} {unit}"
    yield (
        f"  {each.sample_count:,} readings; {_kwh(each.estimated_kwh)} kWh spread over gaps; "
        f"best estimate {_kwh(each.best_kwh)} kWh"
    )
    if each.special_stretches:
        yield Padding(_specials(each, zone), (1, 0, 0, 2), expand=False)
    if each.gaps:
        yield Padding(_gaps(each.gaps, each.gap_count, zone), (1, 0, 0, 2), expand=False)
    if each.check_sum is not None:
        yield Padding(_check_sum(each.check_sum), (1, 0, 0, 2), expand=False)


def _specials(each: ExplainedDirection, zone: ZoneInfo) -> Table:
    rest = each.special_count - len(each.special_stretches)
    further = f", {rest} further ones not listed" if rest else ""
    table = Table("What", "Reading before", "Reading after", title=f"Special stretches{further}", title_justify="left")
    for name in ("counted kWh", "correction kWh"):
        table.add_column(name, justify="right")
    table.add_column("Left out")
    for stretch in each.special_stretches:
        table.add_row(
            ", ".join(stretch.flags) or "current transformers",
            _reading(stretch.before, zone),
            _reading(stretch.after, zone),
            _counted(stretch),
            _kwh(stretch.correction_kwh),
            _left_out(stretch, zone),
        )
    return table


def _counted(stretch: ExplainedSpecial) -> str:
    if len(stretch.pieces_kwh) < 2:
        return _kwh(stretch.counted_kwh)
    return f"{_kwh(stretch.counted_kwh)}\n= " + "\n+ ".join(_kwh(piece) for piece in stretch.pieces_kwh)


def _left_out(stretch: ExplainedSpecial, zone: ZoneInfo) -> str:
    shown = "\n".join(_reading(each, zone) for each in stretch.left_out)
    rest = stretch.left_out_count - len(stretch.left_out)
    return f"{shown}\nand {rest} more" if rest else shown


def _gaps(gaps: list[ExplainedGap], count: int, zone: ZoneInfo) -> Table:
    rest = f", {count - len(gaps)} further ones not listed" if count > len(gaps) else ""
    table = Table("From", "To", title=f"Gaps{rest}", title_justify="left")
    for name in ("length", "holds kWh", "in the figure"):
        table.add_column(name, justify="right")
    table.add_column("How the energy in it was found")
    for gap in gaps:
        method = gap.method
        if gap.estimate is not None and gap.estimate.like_days:
            days = ", ".join(day.isoformat() for day in gap.estimate.like_days)
            method += f": {_kwh(gap.estimate.energy_kwh)} kWh from {days}"
        row = (local_time(gap.from_, zone), local_time(gap.to, zone), _length(gap.length_s), _kwh(gap.energy_kwh))
        table.add_row(*row, _kwh(gap.inside_kwh), escape(method))
    return table


def _check_sum(check: CheckSum) -> Table:
    verdict = "it holds" if check.holds else "[red]it does not hold[/red]"
    table = Table("", title=f"The sum: {verdict}", title_justify="left", show_header=False)
    table.add_column(justify="right")
    for name, kwh in (
        ("last reading", check.last_kwh),
        ("- first reading", check.first_kwh),
        ("= difference", check.difference_kwh),
        ("+ current transformers", check.ratio_kwh),
        ("+ corrections of special stretches", check.corrections_kwh),
        ("- outside of the time", check.outside_kwh),
        ("= figure", check.figure_kwh),
        ("left over", check.left_over_kwh),
    ):
        table.add_row(name, f"{_kwh(kwh)} kWh")
    return table


def _factors(explained: ExplainedEnergy, zone: ZoneInfo) -> Padding:
    total = "unknown" if explained.kg_co2 is None else f"{explained.kg_co2:,.3f} kgCO2"
    title = f"Carbon: {total}, location-based, of {explained.carbon_basis.replace('_', ' ')}"
    table = Table("Time", "Factor", "Source", title=title, title_justify="left")
    for name in ("kgCO2/kWh", "kWh", "kgCO2"):
        table.add_column(name, justify="right")
    for each in explained.factors:
        time = f"{local_time(each.from_, zone)} to {local_time(each.to, zone)}"
        if each.valid_from is None:
            table.add_row(time, "none is valid", "", "", _kwh(each.energy_kwh), "")
            continue
        until = "open" if each.valid_to is None else local_time(each.valid_to, zone)
        by_hour = ", by the hour" if each.resolution == "hour" else ""
        valid = f"valid {local_time(each.valid_from, zone)} to {until}"
        factor = f"{each.region}, {each.method}, version {each.version}{by_hour}\n{valid}"
        kg = "" if each.kg_co2 is None else f"{each.kg_co2:,.3f}"
        table.add_row(
            time, escape(factor), escape(each.source or ""), f"{each.kg_per_kwh:g}", _kwh(each.energy_kwh), kg
        )
    return Padding(table, (1, 0, 0, 2), expand=False)


def _reading(reading: ExplainedReading | None, zone: ZoneInfo) -> str:
    if reading is None:
        return "none"
    quality = "not of the meter" if reading.quality is None else ", ".join(reading.quality) or "good"
    return f"{local_time(reading.time, zone)}  {reading.value:,.3f} ({quality})"


def _length(length_s: float) -> str:
    if length_s < 3600:
        return f"{length_s / 60:,.1f} min"
    return f"{length_s / 3600:,.1f} h"


def _kwh(kwh: float | None) -> str:
    # Adding 0 makes a rounded minus nothing plain nothing.
    return "unknown" if kwh is None else f"{round(kwh, 6) + 0.0:,.6f}"
