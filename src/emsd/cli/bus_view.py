"""The load of a plant's Modbus connections as a person reads it: a table, and warnings with their cure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final

from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from collectors.modbus.timing import STANDARD_BAUD_RATES, SerialLine
from emsd.cli.bus_load import BusLoad
from emsd.plant.source import Finding

__all__ = ["load_table", "load_warnings"]

_BUSY: Final = 0.8
"""Utilisation from which on a connection has no room left for retries and for meters that stay silent."""

_WORTH_A_WORD: Final = 0.02
"""Share of skipped ticks that is more than a phase of the schedule."""

_INTERVALS_S: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)
_MOST_NAMES: Final = 3


def load_table(loads: Sequence[BusLoad]) -> Padding:
    """Return the loads as a table, one connection a row."""
    table = Table("Modbus connection", "Way", title="Reads, as they are planned", title_justify="left")
    for heading in ("Meters", "Requests/s", "A cycle", "Registers", "Wanted", "Cycle", "Busy", "Late by a silent one"):
        table.add_column(heading, justify="right")
    for bus in loads:
        load, plan = bus.load, bus.load.plan
        colour = "red" if load.utilisation > 1 else "yellow" if load.utilisation > _BUSY else "green"
        table.add_row(
            escape(bus.connection.key),
            escape(bus.way),
            str(len(bus.meters)),
            f"{load.requests_per_s:,.1f}",
            f"{plan.requests} requests",
            f"{plan.registers_read:,}",
            "-" if plan.share is None else f"{plan.share:.0%}",
            _duration(load.cycle_s),
            f"[{colour}]{load.utilisation:.0%}[/]",
            _duration(load.delay_by_silent_s),
        )
    return Padding(table, (1, 0, 0, 0), expand=False)


def load_warnings(loads: Sequence[BusLoad]) -> Iterator[Finding]:
    """Find schedules that cannot be met or are wasted, with the cure."""
    for bus in loads:
        where = ("connections", bus.index)
        problem = _problem(bus)
        if problem:
            yield Finding(where, f"{bus.connection.key} {problem}", _cure(bus))
        yield from (Finding(where, *words) for words in _needless(bus))


def _problem(bus: BusLoad) -> str:
    """Say what is wrong with the schedule of a connection; empty when it can be met."""
    busy = bus.load.utilisation
    hit = [(meter.key, share) for meter, share in zip(bus.meters, bus.skipped, strict=True) if share > _WORTH_A_WORD]
    skips = ""
    if hit:
        worst = max(share for _, share in hit)
        skips = (
            f"up to {worst:.0%} of the polls of {_names([key for key, _ in hit])} will be skipped "
            f"({60 * bus.skipped_per_s:,.0f} a minute)"
        )
    guess = f", if a request takes {bus.way.removesuffix(' (assumed)')}, as is assumed" if bus.assumed else ""
    if busy > 1:
        return f"is asked for {busy:.0%} of its time{guess}: {skips or 'polls will be skipped'}"
    if busy > _BUSY:
        return f"is busy {busy:.0%} of its time{guess}: {skips or 'there is no room for retries and silent meters'}"
    if skips:
        longest = max(bus.load.meters, key=lambda meter: meter.poll_s)
        return f"spends {_duration(longest.poll_s)} on each poll of {longest.key}: {skips}"
    return ""


def _cure(bus: BusLoad) -> str:
    guessed = bus.assumed and bus.load.utilisation > _BUSY
    cures = ["measure the round trip and check again with --round-trip-ms"] if guessed else []
    longest = max(bus.load.meters, key=lambda meter: meter.poll_s)
    # Where there is time enough, a poll of one meter is longer than another's interval.
    attainable_s = bus.load.attainable_interval_s(_BUSY) or longest.poll_s
    nice_s = next((each for each in _INTERVALS_S if each >= attainable_s), None)
    fast = [meter.key for meter in bus.meters if nice_s is not None and meter.poll_interval_s < nice_s]
    if fast:
        cures.append(f"set poll_interval_s of {_names(fast)} to {nice_s:g}")
    faster = _baud_rate(bus)
    if faster is not None:
        cures.append(f"set the line to {faster} baud")
    if len(bus.meters) > 1 and bus.load.utilisation > _BUSY:
        lines = min(len(bus.meters), max(2, -int(-bus.load.utilisation // _BUSY)))
        cures.append(f"spread its meters over {lines} lines, each a connection of its own")
    elif len(bus.meters) > 1:
        cures.append(f"give {longest.key} a connection of its own")
    return ", or ".join(cures) or "read fewer of its quantities"


def _baud_rate(bus: BusLoad) -> int | None:
    """Return the lowest usual rate at which a serial line would have room, or None."""
    if not isinstance(bus.medium, SerialLine) or bus.load.utilisation <= _BUSY:
        return None
    lines = ((rate, replace(bus.medium, baud_rate=rate)) for rate in STANDARD_BAUD_RATES)
    return next((rate for rate, line in lines if bus.over(line).utilisation <= _BUSY), None)


def _needless(bus: BusLoad) -> Iterator[tuple[str, str]]:
    """Find meters that are polled faster than their device renews its values."""
    hasty = [
        (meter.profile, refresh_s, meter)
        for meter, polled in zip(bus.meters, bus.polled, strict=True)
        if (refresh_s := polled.registers.refresh_s) is not None and meter.poll_interval_s < refresh_s
    ]
    for (profile, refresh_s), group in groupby(sorted(hasty, key=lambda each: each[:2]), key=lambda each: each[:2]):
        names = _names([meter.key for _, _, meter in group])
        problem = f"polls {names} faster than a {profile} renews its values, every {refresh_s:g} s"
        yield f"{bus.connection.key} {problem}", f"set their poll_interval_s to {refresh_s:g} or more"


def _names(keys: Sequence[str]) -> str:
    if len(keys) <= _MOST_NAMES + 1:
        return ", ".join(keys[:-1]) + " and " + keys[-1] if len(keys) > 1 else keys[0]
    return f"{', '.join(keys[:_MOST_NAMES])} and {len(keys) - _MOST_NAMES} more"


def _duration(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
