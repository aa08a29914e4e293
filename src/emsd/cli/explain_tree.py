"""An explanation as a person reads it in a terminal: the figure, its parts as a tree, the rules, what it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.tree import Tree

from emsd.api.explained.form import Explanation, Part, Source

__all__ = ["explanation_tree", "heading", "local_time", "number"]

_LONGEST_FACTS = 300


def explanation_tree(explained: Explanation) -> Group:
    """Return the report of any explanation."""
    zone = ZoneInfo(explained.time_zone)
    shown: list[RenderableType] = [*heading(explained)]
    tree = Tree(f"[bold]{_figure(explained.recomputed, explained.unit)}[/bold] from its parts", guide_style="dim")
    for part in explained.parts:
        _grow(tree, part, zone)
    shown.append(Padding(tree, (1, 0, 0, 0)))
    if explained.rules:
        table = Table("Rule", "What it says", "Source", title="Rules", title_justify="left")
        for rule in explained.rules:
            table.add_row(escape(rule.name), escape(rule.rule), escape(rule.source))
        shown.append(Padding(table, (1, 0, 0, 0), expand=False))
    if explained.sources:
        shown.append(Padding(_sources(explained.sources), (1, 0, 0, 0), expand=False))
    return Group(*shown)


def heading(explained: Explanation) -> Iterator[RenderableType]:
    """Yield what the figure is, whether its parts make it, and what one should know of it."""
    zone = ZoneInfo(explained.time_zone)
    span = f"from {local_time(explained.from_, zone)} to {local_time(explained.to, zone)} ({explained.time_zone})"
    verdict = "its parts make the same"
    if not explained.agrees:
        verdict = f"[red]its parts do not make the same: {_figure(explained.recomputed, explained.unit)}[/red]"
    yield f"[bold]{escape(explained.of)}[/bold] {span}"
    yield f"[bold]{_figure(explained.figure, explained.unit)}[/bold], {verdict}"
    if explained.remark:
        yield escape(explained.remark)


def _grow(tree: Tree, part: Part, zone: ZoneInfo) -> None:
    sign = f"{part.sign} " if part.sign else ""
    figure = f"{sign}{_figure(part.figure, part.unit)}"
    line = f"[bold]{figure}[/bold]" if part.sign else f"({figure})"
    line += f"  {escape(part.what)}"
    if part.how:
        line += f"  [dim]= {escape(part.how)}[/dim]"
    if part.from_ is not None:
        line += f"  [dim]{local_time(part.from_, zone)}"
        line += f" to {local_time(part.to, zone)}[/dim]" if part.to is not None else "[/dim]"
    if part.remark:
        line += f"\n[yellow]{escape(part.remark)}[/yellow]"
    branch = tree.add(line)
    for each in part.parts:
        _grow(branch, each, zone)
    rest = part.part_count - len(part.parts)
    if rest > 0:
        branch.add(f"[dim]and {rest} more; the sum has them all[/dim]")


def _sources(sources: list[Source]) -> Table:
    table = Table("What", "Name", "Facts", title="It rests on", title_justify="left")
    for each in sources:
        facts = "\n".join(_flat(each.facts))
        short = facts if len(facts) <= _LONGEST_FACTS else facts[:_LONGEST_FACTS] + " ..."
        table.add_row(escape(each.kind), escape(each.name), escape(short))
    return table


def _flat(facts: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name} ")
        elif value is not None and not (isinstance(value, list) and not value):
            yield f"{above}{name} {number(value) if isinstance(value, float) else value}"


def _figure(figure: float | None, unit: str) -> str:
    shown = "unknown" if figure is None else number(figure)
    return f"{shown} {escape(unit)}".rstrip()


def number(value: float) -> str:
    """Return a number with at most six places, without those that are 0."""
    # Adding 0 makes a rounded minus nothing plain nothing.
    text = f"{round(value, 6) + 0.0:,.6f}"
    return text.rstrip("0").rstrip(".")


def local_time(instant: datetime, zone: ZoneInfo) -> str:
    """Return an instant at the site, with seconds and milliseconds only where there are any."""
    local = instant.astimezone(zone)
    if local.microsecond:
        return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03}"
    return f"{local:%Y-%m-%d %H:%M:%S}" if local.second else f"{local:%Y-%m-%d %H:%M}"
