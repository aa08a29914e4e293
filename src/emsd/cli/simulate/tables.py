"""What `emsd simulate verify` shows: the error of every meter, and of every kind of fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import typer
from rich.console import Console
from rich.table import Table

from emsd.cli.simulate.comparing import Compared, Fault, Verdict

__all__ = ["document", "show"]

_WIDTH_OF_A_FILE: Final = 150
_WORST_FIRST: Final = (Verdict.WRONG, Verdict.FLAGGED, Verdict.RIGHT)


def document(rows: Sequence[Compared], faults: Sequence[Fault], begin: datetime, end: datetime) -> dict[str, Any]:
    """Return everything as JSON has it."""
    return {
        "from": begin.isoformat(),
        "to": end.isoformat(),
        "right": bool(rows) and all(row.verdict is not Verdict.WRONG for row in rows),
        "meters": [
            {**asdict(row), "error_kwh": row.error_kwh, "allowed_kwh": row.allowed_kwh, "verdict": row.verdict.value}
            for row in rows
        ],
        "faults": [
            {
                "kind": kind,
                "numbers": [each.number for each in own],
                "meters": sorted({row.meter for row in concerned}),
                "true_kwh": sum(row.true_kwh for row in concerned),
                "error_kwh": _error_kwh(concerned),
                "allowed_kwh": sum(row.allowed_kwh for row in concerned),
                "verdict": _worst(concerned),
            }
            for kind, own, concerned in _by_kind(rows, faults)
        ],
    }


def show(rows: Sequence[Compared], faults: Sequence[Fault], begin: datetime, end: datetime) -> None:
    """Print one table of the meters, one of the kinds of faults when there were some, and the sum of it."""
    console = Console(highlight=False)
    # Into a file or a pipe it goes as wide as it is.
    console = console if console.is_terminal else Console(highlight=False, width=_WIDTH_OF_A_FILE)
    console.print(_meters(rows, faults, f"From {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"))
    if faults:
        console.print(_faults(rows, faults))
    counts = {each: sum(row.verdict is each for row in rows) for each in _WORST_FIRST}
    flagged = f", {counts[Verdict.FLAGGED]} flagged" if counts[Verdict.FLAGGED] else ""
    typer.echo(
        f"{counts[Verdict.RIGHT]} of {len(rows)} right{flagged}, {counts[Verdict.WRONG]} wrong"
        if rows
        else "the simulator has no meter that measures energy"
    )


def _meters(rows: Sequence[Compared], faults: Sequence[Fault], title: str) -> Table:
    kinds = {each.number: each.kind for each in faults}
    table = _table(title, "Meter", "")
    table.add_column("Coverage", justify="right")
    table.add_column("")
    for row in rows:
        notes = ", ".join((*row.flags, *(f"had {kinds[number]}" for number in row.faults)))
        table.add_row(
            row.meter, row.direction,
            *_figures([row]), f"{row.coverage:.1%}", _coloured(row.verdict) + (f" ({notes})" if notes else ""),
        )  # fmt: skip
    return table


def _faults(rows: Sequence[Compared], faults: Sequence[Fault]) -> Table:
    table = _table("Meters that had a fault, by its kind", "Fault", "Known")
    table.add_column("")
    for kind, own, concerned in _by_kind(rows, faults):
        worst = _worst(concerned)
        if worst is None:
            table.add_row(kind, *[""] * 6, "had no meter that measures energy")
            continue
        known = "yes" if all(row.meter in each.known for each in own for row in concerned) else "no"
        table.add_row(kind, known, *_figures(concerned), _coloured(worst))
    return table


def _table(title: str, *names: str) -> Table:
    table = Table(*names, title=title, title_justify="left")
    for name in ("True kWh", "Measured kWh", "Error kWh", "Error %", "Allowed kWh"):
        table.add_column(name, justify="right")
    return table


def _figures(rows: Sequence[Compared]) -> tuple[str, ...]:
    true = sum(row.true_kwh for row in rows)
    error, allowed = _error_kwh(rows), sum(row.allowed_kwh for row in rows)
    return (
        f"{true:,.4f}",
        "none" if error is None else f"{true + error:,.4f}",
        "" if error is None else f"{error:+.4f}",
        "" if error is None or not true else f"{100 * error / true:+.3f}",
        f"{allowed:.4f}",
    )


def _by_kind(
    rows: Sequence[Compared], faults: Sequence[Fault]
) -> list[tuple[str, Sequence[Fault], Sequence[Compared]]]:
    """Return kind, faults of it, and the figures of the meters that had one; kinds of no energy meter have none."""
    kinds = dict.fromkeys(each.kind for each in faults)
    of_kind = {kind: [each for each in faults if each.kind == kind] for kind in kinds}
    return [
        (kind, own, [row for row in rows if {each.number for each in own} & set(row.faults)])
        for kind, own in of_kind.items()
    ]


def _error_kwh(rows: Sequence[Compared]) -> float | None:
    """Return the sum of errors [kWh]; None where one is not known, or there is none."""
    errors = [row.error_kwh for row in rows]
    known = [each for each in errors if each is not None]
    return sum(known) if known and len(known) == len(errors) else None


def _worst(rows: Sequence[Compared]) -> Verdict | None:
    """Return the worst verdict; None where nothing was compared, which proves nothing."""
    found = {row.verdict for row in rows}
    return next((each for each in _WORST_FIRST if each in found), None)


def _coloured(verdict: Verdict) -> str:
    return f"[red]{verdict.value}[/red]" if verdict is Verdict.WRONG else verdict.value
