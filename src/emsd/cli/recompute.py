"""`emsd recompute`: intervals of the past computed anew from the raw readings, by today's rules."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from uuid import uuid4
from zoneinfo import ZoneInfo

import typer

from emsd.cli.options import DatabaseUrl, PlantFile
from emsd.cli.outcome import one_sentence
from emsd.errors import SettingsError

if TYPE_CHECKING:
    from emsd.accounting import Accounting
    from emsd.plant.loader import LoadedPlant
    from emsd.store.pool import Pool
    from emsd.store.versions import StaleHistory

__all__ = ["recompute"]

_FORMATS: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]
_TIMEOUT_S: Final = 600.0
"""A sum over years of quarter hours takes a while [s]."""


def recompute(
    database_url: DatabaseUrl,
    plant: PlantFile = Path("plant.yaml"),
    *,
    from_: Annotated[
        datetime | None,
        typer.Option("--from", formats=_FORMATS, help="Begin; without an offset in the site's time zone."),
    ] = None,
    to: Annotated[
        datetime | None, typer.Option("--to", formats=_FORMATS, help="End, itself not included; absent: now.")
    ] = None,
    meter: Annotated[
        list[str] | None,
        typer.Option(help="Key of a meter; again for more; absent: all that measure energy or give key figures."),
    ] = None,
    gauges: Annotated[
        bool, typer.Option("--gauges", help="Also minimum, mean and maximum of process gauges, which know no rules.")
    ] = False,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="Begin with the oldest time.")] = False,
    list_only: Annotated[
        bool, typer.Option("--list", help="Only show what history other rules than today's have made.")
    ] = False,
) -> None:
    """Compute intervals anew from the raw readings, as after a change of a rating, a profile or `max_gap_s`.

    A service that runs does the work between its own; without one it is done here. Ctrl-C withdraws what is not done
    yet; what is done stays, and the same command once more changes nothing further. Inputs of key figures follow once a
    service runs. Time of which retention has dropped the raw readings is refused: nothing could be computed from what
    is not there.

    Example: emsd recompute --from 2026-03-01 --to 2026-04-01 --meter press-3
    """
    from emsd.plant.loader import load_plant

    with one_sentence():
        loaded = load_plant(plant, environ=os.environ)
        wanted = None if list_only else _wanted(loaded, from_, to, meter, gauges=gauges, oldest_first=oldest_first)
        done = asyncio.run(_with_pool(database_url, loaded, meter, wanted))
    if not done:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Wanted:
    from_: datetime
    to: datetime
    gauges: bool
    newest_first: bool


def _wanted(
    loaded: LoadedPlant,
    from_: datetime | None,
    to: datetime | None,
    meters: Sequence[str] | None,
    *,
    gauges: bool,
    oldest_first: bool,
) -> _Wanted:
    zone = loaded.plant.site.zone
    if from_ is None:
        raise SettingsError("--from is missing; write the first day that is to be computed, such as --from 2026-03-01")
    begin, now = _aware(from_, zone), datetime.now(UTC)
    end = min(now, now if to is None else _aware(to, zone))
    if begin >= now:
        raise SettingsError(f"--from {begin:%Y-%m-%d %H:%M} UTC has not come yet; there is nothing to compute anew")
    if begin >= end:
        raise SettingsError(f"--from {begin:%Y-%m-%d %H:%M} is not before --to {end:%Y-%m-%d %H:%M}; swap them")
    virtual = sorted(set(meters or ()) & {each.key for each in loaded.plant.virtual_meters})
    if virtual:
        raise SettingsError(
            f"{', '.join(virtual)} is a virtual meter, which follows the meters that it is made of; name those"
        )
    unknown = sorted(set(meters or ()) - {each.key for each in loaded.plant.meters})
    if unknown:
        raise SettingsError(f"{loaded.path} has no meter {', '.join(unknown)}; write keys as they stand there")
    return _Wanted(begin, end, gauges, not oldest_first)


def _aware(instant: datetime, zone: ZoneInfo) -> datetime:
    return (instant if instant.tzinfo else instant.replace(tzinfo=zone)).astimezone(UTC)


async def _with_pool(
    database_url: str, loaded: LoadedPlant, keys: Sequence[str] | None, wanted: _Wanted | None
) -> bool:
    """Do what is wanted, None: only show what other rules have made; False when it was not brought to its end."""
    from emsd.accounting import PlantAccounting
    from emsd.cli.recompute_view import show_stale
    from emsd.logs import configure_logging
    from emsd.store.plant import load_meters
    from emsd.store.pool import open_pool

    configure_logging(level="warning")  # what it does stands on standard output
    async with open_pool(
        database_url, application_name="emsd-recompute", max_size=4, command_timeout_s=_TIMEOUT_S
    ) as pool:
        numbers = {row.key: row.meter_id for row in await load_meters(pool, loaded.plant.site.number)}
        absent = sorted(each.key for each in loaded.plant.meters if each.key not in numbers)
        if absent:
            raise SettingsError(f"the database does not know {', '.join(absent)}; run emsd migrate --plant first")
        accounting = PlantAccounting(pool, loaded, numbers)
        chosen = {key: numbers[key] for key in keys or (each.key for each in loaded.plant.meters)}
        if wanted is None:
            show_stale(await _stale(pool, accounting, chosen), chosen, accounting)
            return True
        return await _carry_out(pool, accounting, loaded, chosen, wanted)


async def _stale(pool: Pool, accounting: Accounting, chosen: Mapping[str, int]) -> list[StaleHistory]:
    from emsd.accounting.versions import fingerprint
    from emsd.store.pool import session
    from emsd.store.versions import stale_history

    marks = {each: fingerprint(accounting.accounts[each]) for each in chosen.values() if each in accounting.accounts}
    async with session(pool, "look for history of other rules") as connection:
        return await stale_history(connection, marks)


async def _carry_out(
    pool: Pool, accounting: Accounting, loaded: LoadedPlant, chosen: Mapping[str, int], wanted: _Wanted
) -> bool:
    from emsd.accounting.request import ask, changes, follow, unless_stopped, withdraw
    from emsd.cli.recompute_view import piece_progress, show_changes, show_stopped
    from emsd.cli.signals import stop_on_signals

    keys = [
        key for key in chosen if wanted.gauges or chosen[key] in accounting.accounts or key in _of_key_figures(loaded)
    ]
    if not keys:
        raise SettingsError(
            f"{', '.join(chosen)} measures no energy and gives no key figure; --gauges computes anew what it shows"
        )
    number = uuid4()
    asked = ask(
        pool,
        accounting,
        [chosen[key] for key in keys],
        wanted.from_,
        wanted.to,
        requested_by=f"{getpass.getuser()}@{socket.gethostname()}",
        gauges=wanted.gauges,
        newest_first=wanted.newest_first,
        request=number,
    )
    with stop_on_signals() as stop:
        request = await unless_stopped(stop, asked)
        if request is None:
            await withdraw(pool, number)
            show_stopped()
            return False
        with piece_progress(request, accounting.zone) as on_progress:
            withdrawn = await follow(pool, accounting, request, stop=stop, on_progress=on_progress)
        if withdrawn:
            show_stopped(pieces=request.pieces, withdrawn=withdrawn)
        stop.clear()
        found = await unless_stopped(stop, changes(pool, request))
    if found is not None:
        show_changes(found, chosen)
    return not withdrawn


def _of_key_figures(loaded: LoadedPlant) -> set[str]:
    """Return the meters whose readings are inputs of key figures."""
    from emsd.plant.kpi import kpis_of_plant

    sources = [source for asset in kpis_of_plant(loaded).values() for source in asset.sources.values()]
    return {part.meter for source in sources for part in source.parts}
