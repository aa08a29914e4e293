"""`emsd quarantine`: what could never become a reading, and what a person makes of it."""

from __future__ import annotations

import asyncio
import base64
import getpass
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, TypeVar

import typer

from emsd.cli.options import DatabaseUrl, PlantFile
from emsd.cli.outcome import one_sentence
from emsd.errors import SettingsError

if TYPE_CHECKING:
    from emsd.cli.replaying import Replayed
    from emsd.store.pool import Pool
    from emsd.store.quarantine import QuarantineRow

__all__ = ["app"]

app = typer.Typer(
    help="Messages that could not become readings: kept as they came, each with its reason.\n\n"
    "A message is quarantined when its meter's profile does not accept it. `list` and `show` say why; mend the profile "
    "and `replay` stores the readings after all, or `drop` empties what is worthless. No row ever vanishes.",
    epilog="Exit codes: 0 done; 1 it, or a part of it, could not be done; 2 what was written is wrong.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Numbers: TypeAlias = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Numbers, as `list` shows.")]
MeterName: TypeAlias = Annotated[str | None, typer.Option(help="Only of this meter: its key, or its number.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print for machines.")]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Result = TypeVar("Result")

_PAGE: Final = 200
_SHOWN_CHARACTERS: Final = 60


@app.command("list")
def list_rows(
    database_url: DatabaseUrl,
    *,
    meter: MeterName = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Received since then, in UTC.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    resolved: Annotated[bool, typer.Option("--resolved", help="Also those that were stored or dropped.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is in quarantine, the newest first.

    For example `emsd quarantine list --meter press-3 --since 2026-03-01`.
    """
    from emsd.store.quarantine import list_poisons

    async def read(pool: Pool) -> list[QuarantineRow]:
        meter_ids = await _meter_ids(pool, meter)
        begin = None if since is None else since.replace(tzinfo=UTC)
        return await list_poisons(pool, meter_ids=meter_ids, since=begin, resolved_too=resolved, limit=limit)

    rows = _with_pool(database_url, read)
    if as_json:
        typer.echo(json.dumps([_document(row) for row in rows], indent=1))
    elif rows:
        _print_table(
            ("ID", "received [UTC]", "meter", "topic or source", "bytes", "reason", "begins with", "became"),
            [
                (
                    str(row.quarantine_id), f"{row.received_at:%Y-%m-%d %H:%M:%S}", row.meter_key or "",
                    row.topic or row.source, f"{row.payload_bytes:,}", row.reason, _begin(row.payload),
                    row.outcome or "",
                )
                for row in rows
            ],
        )  # fmt: skip
    else:
        typer.echo("nothing is in quarantine")


@app.command("show")
def show(
    number: Annotated[int, typer.Argument(metavar="ID", help="Number, as `list` shows.")],
    database_url: DatabaseUrl,
    *,
    as_json: AsJson = False,
) -> None:
    """Show one message with all that is known of it, and its payload as it came."""
    from emsd.store.quarantine import poisons_numbered

    rows = _with_pool(database_url, lambda pool: poisons_numbered(pool, [number]))
    if not rows:
        typer.echo(
            f"nothing in quarantine has the number {number}; `emsd quarantine list` shows what there is", err=True
        )
        raise typer.Exit(1)
    document = _document(rows[0])
    if as_json:
        typer.echo(json.dumps(document, indent=1))
        return
    payload = document.pop("payload")
    for name, value in document.items():
        if value is not None:
            typer.echo(f"{name:16} {value}")
    typer.echo("")
    typer.echo(payload)


@app.command("replay")
def replay_rows(
    database_url: DatabaseUrl,
    numbers: Numbers = None,
    *,
    plant: PlantFile = Path("plant.yaml"),
    meter: MeterName = None,
    everything: Annotated[bool, typer.Option("--all", help="All that nothing was decided on.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Run messages through today's mapping of their meters and store the readings.

    Mend the profile or the plant first, then name what to replay: numbers, a `--meter`, or `--all`. A reading gets the
    message's own time, or that of its arrival then, and is marked as replayed; the energy tables follow. What is still
    not accepted stays in quarantine, and the exit code is 1.

    For example `emsd quarantine replay --meter press-3 --plant plant.yaml`.
    """
    from emsd.cli.replaying import Outcome
    from emsd.plant.loader import load_plant

    with one_sentence():
        _one_choice(numbers, meter, everything)
        loaded = load_plant(plant, environ=os.environ)
    if everything and not yes:
        typer.confirm("Replay everything in quarantine?", abort=True)

    async def run(pool: Pool) -> list[Replayed]:
        from emsd.cli.replaying import bound_meters, replay

        meters = await bound_meters(pool, loaded)
        done = []
        async for page in _pages(pool, numbers, meter):
            done += [each async for each in replay(pool, page, meters, _who())]
        return done

    done = _with_pool(database_url, run)
    if as_json:
        typer.echo(json.dumps([_fate(each) for each in done], indent=1))
    elif done:
        _print_table(("ID", "meter", "became", "time [UTC]", "why"), [tuple(_fate(each).values()) for each in done])
    counts = {outcome: sum(each.outcome is outcome for each in done) for outcome in Outcome}
    typer.echo(
        ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) or "nothing to do", err=True
    )
    missing = len(set(numbers or ())) - len(done) if numbers else 0
    if missing:
        typer.echo(f"{missing} of the numbers are not in quarantine", err=True)
    if counts[Outcome.REFUSED] or missing:
        raise typer.Exit(1)


@app.command("drop")
def drop(
    database_url: DatabaseUrl,
    numbers: Annotated[list[int], typer.Argument(metavar="ID...", help="Numbers, as `list` shows.")],
    *,
    yes: Yes = False,
) -> None:
    """Empty messages that nothing will become of; the rows stay, with when and by whom.

    For example `emsd quarantine drop 17 18 --yes`.
    """
    from emsd.store.quarantine import drop_poisons

    if not yes:
        typer.confirm(f"Empty {len(set(numbers))} messages for ever?", abort=True)
    dropped = _with_pool(database_url, lambda pool: drop_poisons(pool, numbers, _who()))
    typer.echo(f"dropped {len(dropped)}")
    if others := sorted(set(numbers) - set(dropped)):
        listed = ", ".join(str(number) for number in others)
        typer.echo(
            f"not in quarantine, or decided on before: {listed}; see `emsd quarantine list --resolved`", err=True
        )
        raise typer.Exit(1)


def _one_choice(numbers: Sequence[int] | None, meter: str | None, everything: bool) -> None:
    if (numbers is not None) + (meter is not None) + everything != 1:
        raise SettingsError("say what to replay: either numbers, or --meter KEY, or --all")


async def _pages(pool: Pool, numbers: Sequence[int] | None, meter: str | None) -> AsyncIterator[list[QuarantineRow]]:
    """Yield the chosen rows in the order of their arrival, not all of them in memory at one time."""
    from emsd.store.quarantine import list_poisons, poisons_numbered

    if numbers is not None:
        ordered = sorted(set(numbers))
        for at in range(0, len(ordered), _PAGE):
            yield await poisons_numbered(pool, ordered[at : at + _PAGE])
        return
    meter_ids = await _meter_ids(pool, meter)
    newest = await list_poisons(pool, meter_ids=meter_ids, limit=1)
    last = newest[0].quarantine_id if newest else 0
    after = 0
    while page := await list_poisons(pool, meter_ids=meter_ids, after_id=after, newest_first=False, limit=_PAGE):
        yield [row for row in page if row.quarantine_id <= last]  # a refused reading makes a row of its own
        after = page[-1].quarantine_id
        if after >= last:
            return


async def _meter_ids(pool: Pool, name: str | None) -> list[int] | None:
    """Return the numbers of the meters that are meant; None for all.

    Raises:
        SettingsError: there is no such meter.
    """
    from emsd.store.quarantine import meter_ids_named

    if name is None:
        return None
    found = await meter_ids_named(pool, name)
    if not found:
        raise SettingsError(f"the database knows no meter {name!r}; write its key as in the plant, or its number")
    return found


def _document(row: QuarantineRow) -> dict[str, Any]:
    try:
        payload, encoding = row.payload.decode(), "text"
    except UnicodeDecodeError:
        payload, encoding = base64.b64encode(row.payload).decode(), "base64"
    return {
        "id": row.quarantine_id,
        "received_at": row.received_at.isoformat(),
        "meter": row.meter_key,
        "meter_id": row.meter_id,
        "source": row.source,
        "connection": row.connection,
        "topic": row.topic,
        "qos": row.qos,
        "retained": row.retained,
        "reason": row.reason,
        "outcome": row.outcome,
        "resolved_at": None if row.resolved_at is None else row.resolved_at.isoformat(),
        "resolved_by": row.resolved_by,
        "payload_bytes": row.payload_bytes,
        "kept_bytes": len(row.payload),
        "encoding": encoding,
        "payload": payload,
    }


def _fate(each: Replayed) -> dict[str, str]:
    return {
        "id": str(each.row.quarantine_id),
        "meter": each.row.meter_key or "",
        "became": each.outcome.value,
        "time": "" if each.reading is None else f"{each.reading.time:%Y-%m-%d %H:%M:%S}",
        "why": each.why,
    }


def _begin(payload: bytes) -> str:
    text = payload[: _SHOWN_CHARACTERS + 1].decode(errors="replace")
    text = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*heads)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console = Console()
    console.print(table, width=None if console.is_terminal else 200)


def _who() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"


def _with_pool(database_url: str, action: Callable[[Pool], Awaitable[Result]]) -> Result:
    """Run one action on the database; what goes wrong is one sentence and an exit code."""
    from emsd.logs import configure_logging
    from emsd.store.pool import open_pool

    configure_logging(level="warning")  # standard output is the answer's

    async def run() -> Result:
        async with open_pool(database_url, application_name="emsd-quarantine", max_size=2) as pool:
            return await action(pool)

    with one_sentence():
        return asyncio.run(run())
