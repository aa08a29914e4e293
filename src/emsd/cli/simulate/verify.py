"""`emsd simulate verify`: is what emsd measured what really flowed?"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

import typer

from emsd.cli.outcome import one_sentence
from emsd.cli.simulate.address import ask_simulator, find_simulator
from emsd.cli.simulate.comparing import Verdict, compare
from emsd.cli.simulate.instants import instant_of
from emsd.cli.simulate.tables import document, show
from emsd.errors import SettingsError

__all__ = ["verify"]

_SETTLED: Final = timedelta(seconds=30)
"""How long a minute is over before it is asked for: messages have come and accounting has been there."""
_MINUTE: Final = timedelta(minutes=1)


def verify(
    simulator: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the simulator answers; absent: where it said that it does.")
    ] = None,
    emsd: Annotated[str, typer.Option(metavar="URL", help="Where emsd's API answers.")] = "http://127.0.0.1:8000",
    *,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="TIME", help="Begin, local to the site; absent: the simulator's first full minute."
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="End, exclusive; absent: half a minute ago.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Compare what a running emsd measured with what really flowed: every meter, and every kind of fault.

    For example `emsd simulate verify --from 2026-01-31T08:00 --to 2026-01-31T09:00`.

    A meter is right when its error is not beyond one count of its counter and 0.1 % of what is true. Where a fault
    left nobody a way to know, it is enough that the figure is flagged, estimated, or not covered as a whole. Exit code
    1 when one is neither.
    """
    with one_sentence():
        where = find_simulator(simulator)
        begin, end = _window(ask_simulator(where, "GET", "/status"), from_, to)
        rows, faults = compare(where, emsd, begin, end)
    holds = bool(rows) and all(row.verdict is not Verdict.WRONG for row in rows)
    if as_json:
        typer.echo(json.dumps(document(rows, faults, begin, end), indent=2))
    else:
        show(rows, faults, begin, end)
    if not holds:
        raise typer.Exit(1)


def _window(status: dict[str, Any], from_: str | None, to: str | None) -> tuple[datetime, datetime]:
    """Return the window in UTC, full minutes.

    Raises:
        SettingsError: a time is none, or the window has not passed or holds no full minute.
    """
    zone = ZoneInfo(status["time_zone"])
    now = datetime.fromisoformat(status["now"])
    begin = (
        _instant("--from", from_, zone) if from_ else _full_minute(datetime.fromisoformat(status["began"])) + _MINUTE
    )
    end = _instant("--to", to, zone) if to else _full_minute(now - _SETTLED)
    if end > now:
        raise SettingsError(f"--to {end.isoformat()} has not passed yet; ask for what has")
    if begin >= end:
        raise SettingsError(
            f"from {begin.isoformat()} to {end.isoformat()} there is no full minute yet; wait a little, "
            "or say --from and --to"
        )
    return begin, end


def _instant(option: str, text: str, zone: ZoneInfo) -> datetime:
    when = instant_of(option, text, zone)
    if when.second or when.microsecond:
        raise SettingsError(f"{option} {text} is no full minute; intervals begin and end with minutes")
    return when


def _full_minute(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(second=0, microsecond=0)
