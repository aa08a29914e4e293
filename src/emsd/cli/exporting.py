"""What every `emsd export` does: from what was asked to a file that is there whole, with progress."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Self, TypeAlias

import typer

from emsd.cli.outcome import one_sentence
from emsd.errors import ExportError, SettingsError

if TYPE_CHECKING:
    from emsd.export import Batch, TableFormat, TableSchema
    from emsd.store.export import Pages, TellShare
    from emsd.store.plant_view import PlantView
    from emsd.store.pool import Pool

__all__ = ["Asked", "Describe", "Open", "Wanted", "known_name", "write_table"]

_STATEMENT_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What every table is asked with."""

    database_url: str
    output: Path
    from_: str
    to: str | None
    meters: Sequence[str] | None
    table_format: str | None
    force: bool
    site: int | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, in the terms of the site's database."""

    plant: PlantView
    meters: Mapping[int, str]
    from_: datetime
    to: datetime


Open: TypeAlias = "Callable[[Pool, TellShare], AbstractAsyncContextManager[Pages]]"
Describe: TypeAlias = "Callable[[Asked], tuple[TableSchema, Open]]"


def write_table(wanted: Wanted, describe: Describe, *, energy_only: bool = False) -> None:
    """Write one table; what goes wrong is one sentence and an exit code."""
    from emsd.logs import configure_logging

    configure_logging(level="warning")  # standard output may be the file
    with one_sentence():
        chosen = _format(wanted)
        if str(wanted.output) != "-" and wanted.output.exists() and not wanted.force:
            raise SettingsError(f"{wanted.output} is there already; --force replaces it")
        asyncio.run(_write(wanted, chosen, describe, energy_only=energy_only))


async def _write(wanted: Wanted, table_format: TableFormat, describe: Describe, *, energy_only: bool) -> None:
    from emsd.export import encode
    from emsd.store.pool import open_pool

    async with open_pool(
        wanted.database_url, application_name="emsd-export", max_size=1, command_timeout_s=_STATEMENT_TIMEOUT_S
    ) as pool:
        schema, open_rows = describe(await _range(pool, wanted, energy_only=energy_only))
        with _destination(wanted.output, table_format) as file, _Progress(schema.name) as progress:
            async with (
                open_rows(pool, progress.tell) as rows,
                aclosing(encode(table_format, schema, progress.counted(rows))) as pieces,
            ):
                async for piece in pieces:
                    _put(file, piece, wanted.output)
                    progress.wrote(len(piece))
    progress.sum_up(wanted.output)


def _format(wanted: Wanted) -> TableFormat:
    """Return the format by its name, or else by the name of the file.

    Raises:
        SettingsError: there is no such format, or a terminal is to show what is no text.
    """
    from emsd.export import TableFormat

    by_suffix = {"parquet": TableFormat.PARQUET, "arrow": TableFormat.ARROW, "arrows": TableFormat.ARROW}
    if wanted.table_format is None:
        chosen = by_suffix.get(wanted.output.suffix.lower().removeprefix("."), TableFormat.CSV)
    else:
        chosen = TableFormat(known_name("format", wanted.table_format, [each.value for each in TableFormat]))
    if str(wanted.output) == "-" and chosen is not TableFormat.CSV and sys.stdout.isatty():
        raise SettingsError(f"{chosen} is no text for a terminal; write it to a file with -o FILE")
    return chosen


async def _range(pool: Pool, wanted: Wanted, *, energy_only: bool) -> Asked:
    from emsd.store.export import read_site_ids
    from emsd.store.plant_view import read_plant_view

    site_id = wanted.site
    if site_id is None:
        sites = await read_site_ids(pool)
        if len(sites) != 1:
            known = ", ".join(map(str, sites)) or "none yet"
            raise SettingsError(f"the database has {len(sites)} sites ({known}); say which one with --site")
        (site_id,) = sites
    plant = await read_plant_view(pool, site_id)
    begin = _instant("--from", wanted.from_, plant)
    end = datetime.now(UTC) if wanted.to is None else _instant("--to", wanted.to, plant)
    if begin >= end:
        raise SettingsError(
            f"--from {begin.isoformat()} is not before --to {end.isoformat()}; let it begin before it ends"
        )
    keys = None if wanted.meters is None else {known_name("meter", key, plant.meter_by_key) for key in wanted.meters}
    meters = {
        each.meter_id: each.key
        for each in plant.meters.values()
        if (each.measures_energy or not energy_only if keys is None else each.key in keys)
    }
    return Asked(plant, meters, begin, end)


def _instant(option: str, text: str, plant: PlantView) -> datetime:
    """Return an instant in UTC; one without an offset is local to the site.

    Raises:
        SettingsError: it is none.
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(
            f"{option} {text} is no time; write 2026-01-31, 2026-01-31T08:00 or 2026-01-31T08:00+08:00"
        ) from error
    return (when.replace(tzinfo=plant.zone) if when.tzinfo is None else when).astimezone(UTC)


def known_name(what: str, name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    """Return the name.

    Raises:
        SettingsError: it is none of those known; names what is close to it.
    """
    if name in known:
        return name
    close = get_close_matches(name, list(known), n=3, cutoff=0.5)
    cure = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(list(known)[:20]) or 'none'}"
    raise SettingsError(f"there is no {what} {name!r}; {cure}")


@contextmanager
def _destination(output: Path, table_format: TableFormat) -> Iterator[BinaryIO]:
    from emsd.export import require
    from emsd.export.files import whole_file

    require(table_format)
    with nullcontext(sys.stdout.buffer) if str(output) == "-" else whole_file(output) as file:
        yield file


def _put(file: BinaryIO, piece: bytes, output: Path) -> None:
    try:
        file.write(piece)
    except OSError as error:  # said here, since around it an OSError is one of the database's
        raise ExportError(
            f"{output} cannot be written ({error.strerror or error}); make room, or choose another"
        ) from error


class _Progress:
    """A bar on standard error while the table is written, and one line when it is there."""

    def __init__(self, what: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        self._rows = 0
        self._bytes = 0
        console = Console(stderr=True)
        self._shown = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[written]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._shown.add_task(what, total=1.0, written="")

    def __enter__(self) -> Self:
        self._shown.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.stop()

    def tell(self, share: float) -> None:
        """Show the share 0..1 that was read."""
        self._shown.update(self._task, completed=share)

    async def counted(self, rows: AsyncIterator[Batch]) -> AsyncIterator[Batch]:
        """Pass rows on and count them."""
        async for batch in rows:
            self._rows += len(batch)
            yield batch

    def wrote(self, size_bytes: int) -> None:
        """Count and show bytes that were written."""
        self._bytes += size_bytes
        self._shown.update(self._task, written=f"{self._rows:,} rows, {self._bytes / 1e6:,.1f} MB")

    def sum_up(self, output: Path) -> None:
        """Say what was written; on standard error, because standard output may be the file."""
        name = "standard output" if str(output) == "-" else str(output)
        typer.echo(f"wrote {self._rows:,} rows, {self._bytes / 1e6:,.1f} MB, to {name}", err=True)
