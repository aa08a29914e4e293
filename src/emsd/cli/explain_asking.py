"""What the commands of `emsd explain` have in common: the time and scope that are meant, the question, the report."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import TypeVar
from zoneinfo import ZoneInfo

import typer
from rich.console import Console

from emsd.api.dependencies import Configuration, read_configuration
from emsd.api.explained.form import Explanation
from emsd.api.explained.schemas import ExplainedEnergy
from emsd.cli.explain_tree import explanation_tree
from emsd.cli.explain_view import energy_view
from emsd.cli.outcome import one_sentence
from emsd.energy.series import BUCKET_15M_US
from emsd.energy.windows import local_day_bounds
from emsd.errors import SettingsError
from emsd.logs import configure_logging
from emsd.readings import instant_us
from emsd.store.carbon import site_numbered
from emsd.store.pool import Pool, open_pool
from emsd.store.scopes import ScopeKind, keys_of_scope

__all__ = ["chosen", "explain", "full_quarters", "scope_asked", "span_of"]

Found = TypeVar("Found")
_WIDTH_OF_A_FILE = 120


def explain(
    database_url: str,
    site: int | None,
    ask: Callable[[Pool, Configuration], Awaitable[Explanation]],
    *,
    as_json: bool,
) -> None:
    """Ask for an explanation and print it.

    Raises:
        typer.Exit: 1 when the figure is not what its parts make, or it cannot be had; 2 for a wrong question.
    """
    configure_logging(level="warning")  # standard output is the report's
    with one_sentence():
        explained = asyncio.run(_explained(database_url, site, ask))
    if as_json:
        typer.echo(explained.model_dump_json(indent=2))
    else:
        console = Console()
        # Into a file or a pipe it goes as wide as its tables are; a terminal decides for itself.
        wide = console if console.is_terminal else Console(width=_WIDTH_OF_A_FILE)
        wide.print(energy_view(explained) if isinstance(explained, ExplainedEnergy) else explanation_tree(explained))
    if not explained.agrees:
        raise typer.Exit(1)


async def _explained(
    database_url: str, site: int | None, ask: Callable[[Pool, Configuration], Awaitable[Explanation]]
) -> Explanation:
    async with open_pool(database_url, application_name="emsd-explain", max_size=2, command_timeout_s=300.0) as pool:
        return await ask(pool, await read_configuration(pool, await site_numbered(pool, site)))


def scope_asked(configuration: Configuration, kind: ScopeKind, key: str | None) -> ScopeKind:
    """Return the scope, when it exists.

    Raises:
        SettingsError: it has no such key, or wants one.
    """
    if kind == "site":
        if key is not None:
            raise SettingsError(f"the site has no key {key!r}; leave it out, or say --scope")
    elif key is None:
        raise SettingsError(f"--scope {kind} needs a key; write it after the command")
    else:
        chosen(kind.replace("_", " "), key, dict.fromkeys(keys_of_scope(configuration.plant, kind)))
    return kind


def chosen(what: str, key: str, known: Mapping[str, Found]) -> Found:
    """Return what a key stands for.

    Raises:
        SettingsError: it stands for nothing; the keys close to it are named.
    """
    if key in known:
        return known[key]
    close = get_close_matches(key, known, n=3, cutoff=0.6) or sorted(known)[:10]
    raise SettingsError(f"the site has no {what} {key!r}; did you mean {' or '.join(close) or 'another site'}?")


def span_of(from_: str | None, to: str | None, month: str | None, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the time that is meant [UTC]: a local month, or from a begin, else yesterday's, to an end, else a day on.

    Raises:
        SettingsError: a time is none, no full minute, or the end is not after the begin.
    """
    if month is not None:
        if from_ is not None or to is not None:
            raise SettingsError("--month is a time of its own; leave out --from and --to")
        return _month(month, zone)
    if from_ is None:
        begin = local_day_bounds(datetime.now(zone).date() - timedelta(days=1), zone)[0]
    else:
        begin = _instant("--from", from_, zone)
    day = begin.astimezone(zone)
    # A day on the clock on the wall, which has 23, 24 or 25 hours.
    end = (
        (day.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=zone)
        if to is None
        else _instant("--to", to, zone)
    )
    # Two times of one zone would be compared by the clock on the wall, which goes back in autumn.
    begin, end = begin.astimezone(UTC), end.astimezone(UTC)
    if end <= begin:
        raise SettingsError(f"--to {end.isoformat()} is not after --from {begin.isoformat()}")
    return begin, end


def full_quarters(span: tuple[datetime, datetime]) -> tuple[datetime, datetime]:
    """Return the time, when both of its ends are full quarter hours.

    Raises:
        SettingsError: one is not.
    """
    for option, instant in zip(("--from", "--to"), span, strict=True):
        if instant_us(instant) % BUCKET_15M_US:
            raise SettingsError(f"{option} {instant.isoformat()} is no full quarter hour; write one, such as 12:15")
    return span


def _month(month: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    try:
        first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        raise SettingsError(f"--month {month!r} is not a month such as 2026-10") from None
    following = (first + timedelta(days=31)).replace(day=1)
    return local_day_bounds(first, zone)[0], local_day_bounds(following, zone)[0]


def _instant(option: str, text: str, zone: ZoneInfo) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{option} {text!r} is no time; write 2026-03-29 or 2026-03-29T12:00") from error
    if instant.second or instant.microsecond:
        raise SettingsError(f"{option} {text} is no full minute; intervals begin and end with minutes")
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=zone)
