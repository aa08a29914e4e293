"""A request to compute history anew: asked for, followed until it is done, and what it has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

from emsd.accounting.loop import Accounting
from emsd.accounting.recomputing import pieces_of
from emsd.errors import SettingsError
from emsd.store.pool import Pool, Session, session
from emsd.store.recomputations import (
    EnergyTotals,
    Waiting,
    accounting_seen,
    energy_totals,
    queue_pieces,
    waiting_pieces,
    withdraw_pieces,
)
from emsd.store.retention import read_horizons

__all__ = ["Change", "Request", "ask", "changes", "follow", "unless_stopped", "withdraw"]

_LOOK_EVERY_S: Final = 0.5
_SEEN_WITHIN_S: Final = 60.0
"""A service that has not made a pass for so long is not there [s]; even after a heavy one it waits for less."""
_SETTLED_WITHIN_S: Final = 10.0
"""For how long days and estimates of what is done are still brought up to it after a stop [s]."""
_NOTHING: Final = EnergyTotals(None, None)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for, and the energy of each meter in that time as it was before."""

    request: UUID
    pieces: int
    meter_ids: Sequence[int]
    from_: datetime
    to: datetime
    before: Mapping[int, EnergyTotals]


@dataclass(frozen=True, slots=True)
class Change:
    """Energy of one meter before and after."""

    meter_id: int
    before: EnergyTotals
    after: EnergyTotals

    def is_one(self, least_kwh: float = 1e-6) -> bool:
        """Whether anything differs by `least_kwh` [kWh] or more; a sum in another order differs by less."""
        pairs = (
            (self.before.import_kwh, self.after.import_kwh),
            (self.before.export_kwh, self.after.export_kwh),
        )
        return any(
            (old is None) != (new is None) or (old is not None and new is not None and abs(new - old) >= least_kwh)
            for old, new in pairs
        )


async def ask(
    pool: Pool,
    accounting: Accounting,
    meter_ids: Sequence[int],
    from_: datetime,
    to: datetime,
    *,
    requested_by: str,
    gauges: bool = False,
    newest_first: bool = True,
    request: UUID | None = None,
) -> Request:
    """Queue what is to be computed anew, [from_, to) widened to whole quarter hours, of meters of an accounting.

    `request` is what it shall be called, so that `withdraw` can make sure of it when this is cancelled.

    Raises:
        SettingsError: retention has dropped raw readings of that time.
        StoreError: nothing was queued.
    """
    pieces = pieces_of(
        meter_ids, accounting.accounts, from_, to, intervals=True, gauges=gauges, newest_first=newest_first
    )
    begin, end = min(each.from_ for each in pieces), max(each.to for each in pieces)
    number = request or uuid4()
    async with session(pool, "queue what is to be computed anew") as connection, connection.transaction():
        await _refuse_sealed(connection, accounting, begin)
        before = await energy_totals(connection, meter_ids, begin, end)
        await queue_pieces(connection, number, pieces, requested_by)
    return Request(number, len(pieces), meter_ids, begin, end, before)


async def withdraw(pool: Pool, request: UUID) -> int:
    """Take what is left of a request from the queue; return how many pieces that were.

    Raises:
        StoreError: nothing was withdrawn.
    """
    async with session(pool, "withdraw what is to be computed anew") as connection:
        return await withdraw_pieces(connection, request)


async def unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, Result]) -> Result | None:
    """Return what `work` returns; None when `stop` is set first, and `work` is then cancelled."""
    task = asyncio.create_task(work, name="work until stopped")
    stopped = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        for each in (task, stopped):
            each.cancel()
        await asyncio.wait({task, stopped})


async def follow(
    pool: Pool,
    accounting: Accounting,
    request: Request,
    *,
    stop: asyncio.Event,
    on_progress: Callable[[Waiting, str | None], None] | None = None,
    seen_within_s: float = _SEEN_WITHIN_S,
) -> int:
    """Return when the request is done: by who accounts already, or else by passes of `accounting`.

    `stop` withdraws what is not done yet; how many pieces that were is returned, 0 when all was done. A pass that is
    under way here is given up as a whole, and local days and estimates follow those that are done. `on_progress` is
    told what is left, and by whom it is done, None: here. A process that has made no pass for `seen_within_s` [s] is
    not waited for.

    Raises:
        StoreError: what was done is committed, the rest is still queued.
    """
    is_here = False
    while not stop.is_set():
        async with session(pool, "ask how far the recomputation is") as connection:
            waiting = await waiting_pieces(connection, request.request)
            led_by = None if is_here else await accounting_seen(connection, seen_within_s)
        if on_progress is not None:
            on_progress(waiting, led_by)
        is_here = is_here or (led_by is None and waiting.pieces > 0)
        more = bool(is_here and await unless_stopped(stop, accounting.run_once()))
        if not waiting.pieces and not more and not stop.is_set():
            return 0
        if not more:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await stop.wait()
    withdrawn = await withdraw(pool, request.request)
    if is_here:
        await _settle(accounting)
    return withdrawn


async def _settle(accounting: Accounting) -> None:
    """Let local days and estimates follow the pieces that are done; in time, for what is left has its marks."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_SETTLED_WITHIN_S):
            while await accounting.run_once():
                pass


async def changes(pool: Pool, request: Request) -> list[Change]:
    """Return the meters whose energy is another one than before the request.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "compare the energy with what it was") as connection:
        after = await energy_totals(connection, request.meter_ids, request.from_, request.to)
    found = [
        Change(meter_id, request.before.get(meter_id, _NOTHING), after.get(meter_id, _NOTHING))
        for meter_id in request.meter_ids
    ]
    return [each for each in found if each.is_one()]


async def _refuse_sealed(connection: Session, accounting: Accounting, begin: datetime) -> None:
    horizons = await read_horizons(connection)
    sealed_before = horizons.sealed_before(accounting.zone)
    if sealed_before is not None and begin < sealed_before:
        local = sealed_before.astimezone(accounting.zone)
        raise SettingsError(
            f"retention has dropped what intervals before {local:%Y-%m-%d %H:%M} were made of, so computing them anew "
            f"would erase what is known; write --from {local:%Y-%m-%dT%H:%M} or later"
        )
