"""`emsd events`: what happened to meters, written once and for good."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

import typer

from emsd.cli.options import DatabaseUrl
from emsd.cli.outcome import one_sentence
from emsd.errors import SettingsError

if TYPE_CHECKING:
    from emsd.energy.events import MeterEvent
    from emsd.store.meter_events import EventRow
    from emsd.store.pool import Pool

__all__ = ["app"]

app = typer.Typer(
    help="What happened to meters: swaps, resets, other current transformers, readings by a person.\n\n"
    "The ledger decides how counters become energy. What stands in it stays: a correction is a new event that "
    "supersedes the wrong one, and `withdraw` says that one never happened. Intervals follow within seconds.",
    epilog="Exit codes: 0 done; 1 it could not be done; 2 what was written is wrong.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Author: TypeAlias = Annotated[str, typer.Option(help="Who says so.")]
Note: TypeAlias = Annotated[str, typer.Option(help="Why, and by which document.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print for machines.")]
Kwh: TypeAlias = float | None
Result = TypeVar("Result")


class Kind(StrEnum):
    """What a person can write down."""

    SWAP = "swap"
    RESET = "reset"
    CT_RATIO = "ct-ratio"
    MANUAL_READING = "manual-reading"
    HOLD_OUT = "hold-out"


@app.command("add")
def add(
    meter: Annotated[str, typer.Argument(help="Key of the meter, or its number.")],
    kind: Annotated[Kind, typer.Argument(help="What happened.")],
    database_url: DatabaseUrl,
    *,
    at: Annotated[str, typer.Option(help="When, with its offset: 2026-01-31T08:00:00+01:00.")],
    author: Author,
    note: Note,
    final_import_kwh: Annotated[Kwh, typer.Option(help="swap, reset: what the import counter showed last.")] = None,
    final_export_kwh: Annotated[Kwh, typer.Option(help="swap, reset: what the export counter showed last.")] = None,
    initial_import_kwh: Annotated[Kwh, typer.Option(help="swap: what the new import counter showed first.")] = None,
    initial_export_kwh: Annotated[Kwh, typer.Option(help="swap: what the new export counter showed first.")] = None,
    serial: Annotated[str | None, typer.Option(help="swap: serial number of the new device.")] = None,
    factor: Annotated[float | None, typer.Option(help="ct-ratio: true energy / energy that the device shows.")] = None,
    import_kwh: Annotated[Kwh, typer.Option(help="manual-reading: the import counter.")] = None,
    export_kwh: Annotated[Kwh, typer.Option(help="manual-reading: the export counter.")] = None,
    until: Annotated[str | None, typer.Option(help="hold-out: until when readings are left out.")] = None,
    supersedes: Annotated[int | None, typer.Option(min=1, help="Number of the event that this one replaces.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write down what happened to a meter.

    For example `emsd events add press-3 swap --at 2026-01-31T08:00:00+01:00 --final-import-kwh 912345.6
    --initial-import-kwh 0 --author l.wei --note "work order 4711"`.
    """
    from emsd.energy.events import CounterPair, EventKind, MeterEvent

    with one_sentence():
        signed = _signed(author, note)
        at_us, until_us = _instant("--at", at), None if until is None else _instant("--until", until)
        try:
            event = MeterEvent(
                EventKind(kind.value.replace("-", "_")),
                at_us,
                final=CounterPair(final_import_kwh, final_export_kwh),
                initial=CounterPair(initial_import_kwh, initial_export_kwh),
                reading=CounterPair(import_kwh, export_kwh),
                factor=factor,
                serial=serial,
                until_us=until_us,
            )
        except ValueError as error:
            raise SettingsError(f"{kind}: {error}") from error

    async def write(pool: Pool) -> EventRow:
        return await _add(pool, meter, event, supersedes, signed)

    _show_written(_with_pool(database_url, write), as_json=as_json)


@app.command("withdraw")
def withdraw(
    number: Annotated[int, typer.Argument(metavar="ID", help="Number, as `list` shows.")],
    database_url: DatabaseUrl,
    *,
    author: Author,
    note: Note,
    as_json: AsJson = False,
) -> None:
    """Write down that an event never happened; it stays in the ledger and counts no more.

    For example `emsd events withdraw 17 --author l.wei --note "wrong meter"`.
    """
    from emsd.store.meter_events import withdraw_event

    with one_sentence():
        name, reason = _signed(author, note)
    _show_written(
        _with_pool(database_url, lambda pool: withdraw_event(pool, number, author=name, note=reason)), as_json=as_json
    )


@app.command("list")
def list_rows(
    database_url: DatabaseUrl,
    meter: Annotated[str | None, typer.Argument(help="Key of a meter, or its number; absent: all.")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Show the ledger, the latest event first, with what counts no more."""
    from emsd.store.meter_events import list_events

    async def read(pool: Pool) -> list[EventRow]:
        return await list_events(pool, meter_ids=None if meter is None else [await _meter_id(pool, meter)], limit=limit)

    rows = _with_pool(database_url, read)
    if as_json:
        typer.echo(json.dumps([_document(row) for row in rows], indent=1))
    elif rows:
        _print_table(rows)
    else:
        typer.echo("no meter event is written down")


async def _add(pool: Pool, meter: str, event: MeterEvent, supersedes: int | None, signed: tuple[str, str]) -> EventRow:
    from emsd.store.meter_events import add_event

    author, note = signed
    meter_id = await _meter_id(pool, meter)
    return await add_event(
        pool, meter_id, event, author=author, note=note, now=datetime.now(UTC), supersedes=supersedes
    )


async def _meter_id(pool: Pool, name: str) -> int:
    """Return the one meter that is meant.

    Raises:
        SettingsError: there is none, or there are several.
    """
    from emsd.store.quarantine import meter_ids_named

    found = await meter_ids_named(pool, name)
    if not found:
        raise SettingsError(f"the database knows no meter {name!r}; write its key as in the plant, or its number")
    if len(found) > 1:
        numbers = ", ".join(str(number) for number in found)
        raise SettingsError(f"several sites have a meter {name!r}; write its number, one of {numbers}")
    return found[0]


def _signed(author: str, note: str) -> tuple[str, str]:
    for option, text in (("--author", author), ("--note", note)):
        if not text.strip():
            raise SettingsError(f"{option} is empty; an entry of the ledger says who wrote it and why")
    return author.strip(), note.strip()


def _instant(option: str, text: str) -> int:
    from emsd.readings import instant_us

    cure = "write date, time and offset, such as 2026-01-31T08:00:00+01:00"
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{option} {text!r} is no time; {cure}") from error
    if instant.tzinfo is None:
        raise SettingsError(f"{option} {text!r} has no offset, so it may be meant in any time zone; {cure}")
    return instant_us(instant)


def _show_written(row: EventRow, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_document(row), indent=1))
        return
    replaced = "" if row.supersedes is None else f" in place of event {row.supersedes}"
    typer.echo(
        f"event {row.event_id} of {row.meter_key} is written{replaced}: {row.kind} at {row.occurred_at.isoformat()}"
    )
    if first := row.detail.get("first_reading_at"):
        typer.echo(f"the first reading after it is that of {first}, where the counter moved")


def _document(row: EventRow) -> dict[str, Any]:
    return {
        "event_id": row.event_id,
        "meter": row.meter_key,
        "meter_id": row.meter_id,
        "kind": row.kind,
        "at": row.occurred_at.isoformat(),
        "detail": row.detail,
        "author": row.author,
        "note": row.note,
        "recorded_at": row.recorded_at.isoformat(),
        "supersedes": row.supersedes,
        "superseded_by": row.superseded_by,
    }


def _print_table(rows: list[EventRow]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("ID", "meter", "at [UTC]", "kind", "detail", "author", "note", "became")
    for row in rows:
        replaced = "" if row.superseded_by is None else f"superseded by {row.superseded_by}"
        cells = (
            str(row.event_id), row.meter_key, f"{row.occurred_at:%Y-%m-%d %H:%M:%S}", row.kind, json.dumps(row.detail),
            row.author, row.note, replaced,
        )  # fmt: skip
        table.add_row(*(escape(cell) for cell in cells))
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)


def _with_pool(database_url: str, action: Callable[[Pool], Awaitable[Result]]) -> Result:
    """Run one action on the database; what goes wrong is one sentence and an exit code."""
    from emsd.logs import configure_logging
    from emsd.store.pool import open_pool

    configure_logging(level="warning")  # standard output is the answer's

    async def run() -> Result:
        async with open_pool(database_url, application_name="emsd-events", max_size=2) as pool:
            return await action(pool)

    with one_sentence():
        return asyncio.run(run())
