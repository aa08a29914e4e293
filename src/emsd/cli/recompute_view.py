"""What `emsd recompute` shows: how far it is, what has changed, and what other rules have made."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from emsd.accounting import Accounting, MeterAccount
    from emsd.accounting.request import Change, Request
    from emsd.store.recomputations import EnergyTotals, Waiting
    from emsd.store.versions import StaleHistory

__all__ = ["piece_progress", "show_changes", "show_stale", "show_stopped"]

_WIDTH_OF_A_FILE: Final = 160


@contextmanager
def piece_progress(request: Request, zone: ZoneInfo) -> Iterator[Callable[[Waiting, str | None], None]]:
    """Show how many pieces of a request are done; yield what takes what is left and who does it."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("pieces"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True, highlight=False)) as progress:
        task = progress.add_task(f"{len(request.meter_ids):,} meters", total=request.pieces)

        def update(waiting: Waiting, led_by: str | None) -> None:
            where = "here" if led_by is None else f"by {led_by}"
            at = "" if waiting.next_from is None else f" at {waiting.next_from.astimezone(zone):%Y-%m-%d %H:%M}"
            progress.update(
                task,
                completed=request.pieces - waiting.pieces,
                description=f"{len(request.meter_ids):,} meters{at}, {where}",
            )

        yield update


def show_stopped(*, pieces: int = 0, withdrawn: int = 0) -> None:
    """Print how much of a request was done when somebody stopped it."""
    done = f"{pieces - withdrawn} of {pieces} pieces are done, {withdrawn} withdrawn" if pieces else "nothing was done"
    _console().print(f"stopped: {done}")


def show_changes(found: Sequence[Change], keys: Mapping[str, int]) -> None:
    """Print the meters whose energy is another one now, with both figures."""
    out = _console()
    names = {meter_id: key for key, meter_id in keys.items()}
    if not found:
        out.print("the energy of every meter is what it was")
        return
    table = Table(title="Energy of that time that is another one now [kWh]", title_justify="left")
    table.add_column("Meter")
    for name in ("import before", "import now", "export before", "export now", "difference"):
        table.add_column(name, justify="right")
    for each in found:
        before, after = each.before, each.after
        table.add_row(
            names[each.meter_id],
            *map(_kwh, (before.import_kwh, after.import_kwh, before.export_kwh, after.export_kwh)),
            f"{_net(after) - _net(before):+,.3f}",
        )
    out.print(table)


def show_stale(found: Sequence[StaleHistory], keys: Mapping[str, int], accounting: Accounting) -> None:
    """Print what history of the meters other rules than today's have made, and in what those differ."""
    out = _console()
    if not found:
        out.print("all history was made by today's rules")
        return
    names = {meter_id: key for key, meter_id in keys.items()}
    table = Table(title="History that other rules than today's have made", title_justify="left")
    for name in ("Meter", "from", "to"):
        table.add_column(name, no_wrap=True)
    table.add_column("quarter hours", justify="right")
    table.add_column("rule then -> now")
    zone = accounting.zone
    for each in found:
        table.add_row(
            names[each.meter_id],
            f"{each.first.astimezone(zone):%Y-%m-%d %H:%M}",
            f"{each.last.astimezone(zone):%Y-%m-%d %H:%M}",
            f"{each.quarter_hours:,}",
            "not recorded" if each.rules is None else _changed(each.rules, accounting.accounts[each.meter_id]),
        )
    out.print(table)
    out.print("emsd recompute --from ... brings it under today's rules")


def _changed(rules: Mapping[str, object], account: MeterAccount) -> str:
    from emsd.accounting.versions import differences, rules_of

    return ", ".join(
        f"{name.rpartition('.')[2]} {both}" for name, both in differences(rules, rules_of(account)).items()
    )


def _kwh(value: float | None) -> str:
    return "" if value is None else f"{value:,.3f}"


def _net(energy: EnergyTotals) -> float:
    return (energy.import_kwh or 0.0) - (energy.export_kwh or 0.0)


def _console() -> Console:
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)
