"""Write down who answers behind each meter, and in the audit ledger when it has become another device.

A swap goes into `meter_event` in the transaction that changes the row of `meter_identity`: neither is ever there
without the other, and an attempt that is repeated because its acknowledgement was lost finds the row changed and adds
nothing. The minutes around a swap are marked there too, so that intervals follow.

    detail       {"old": {"serial", "model", "firmware", "last_seen"}, "new": {"serial", "model", "firmware"}}
    occurred_at  when the new device was first seen; the swap lies between the old one's last_seen and this
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import asyncpg
import structlog

from emsd.collector import DeviceIdentity
from emsd.errors import BadRow, StoreError
from emsd.readings import to_datetime
from emsd.store.meter_events import events_changed
from emsd.store.pool import Pool, Session, deadline, session

__all__ = ["IdentityRecorder", "is_another_device"]

log = structlog.get_logger(__name__)

TIMEOUT_S: Final = 10.0
AT_ONCE: Final = 500
"""Meters of one transaction; a service that starts meets all of its meters within seconds."""
MOST_WAITING: Final = 1_000
"""Changes of one meter that are kept while the database is away; two devices that share a unit id change all day."""
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 30.0

MIRRORED: Final = "SELECT meter_id FROM meter WHERE meter_id = ANY($1::integer[])"
KNOWN: Final = "SELECT * FROM meter_identity WHERE meter_id = ANY($1::integer[]) ORDER BY meter_id FOR UPDATE"
UPSERT: Final = """
INSERT INTO meter_identity AS known (meter_id, serial, model, firmware, first_seen, last_seen)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (meter_id) DO UPDATE SET
    serial = excluded.serial, model = excluded.model, firmware = excluded.firmware,
    first_seen = excluded.first_seen, last_seen = greatest(known.last_seen, excluded.last_seen)"""
SWAP: Final = """
INSERT INTO meter_event (meter_id, occurred_at, kind, detail, author, note)
VALUES ($1, $2, 'swap', $3::jsonb, 'emsd', $4)"""


@dataclass(frozen=True, slots=True)
class _Seen:
    """One device behind a meter, from the first to the last time it was seen in a row [us]."""

    identity: DeviceIdentity
    first_us: int
    last_us: int


def is_another_device(old: DeviceIdentity, new: DeviceIdentity) -> bool:
    """Whether two identities belong to two devices.

    Where both tell their serial number it decides: new firmware may well write the model differently. Otherwise the
    model does. What only one of them tells decides nothing.
    """
    if old.serial is not None and new.serial is not None:
        return old.serial != new.serial
    return old.model is not None and new.model is not None and old.model != new.model


class IdentityRecorder:
    """Keeps `meter_identity` and its swaps; `note` never waits, `run` is the task that writes.

    While the database is away the sequence of different devices of each meter waits in memory. What a stop of the
    service leaves unwritten is found again at the first contact after the next start.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: dict[int, list[_Seen]] = {}
        self._arrived = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many meters have something that is not written yet."""
        return len(self._waiting)

    def note(self, meter_id: int, identity: DeviceIdentity, seen_us: int) -> None:
        """Take note of what the device behind a meter says of itself at `seen_us` [us since the epoch]."""
        seen = self._waiting.setdefault(meter_id, [])
        if seen and seen[-1].identity == identity:
            seen[-1] = replace(seen[-1], last_us=seen_us)
        elif len(seen) < MOST_WAITING:
            seen.append(_Seen(identity, seen_us, seen_us))
        else:
            log.warning("meter_identity_given_up", meter_id=meter_id, serial=seen[-1].identity.serial)
            seen[-1] = _Seen(identity, seen_us, seen_us)
        self._arrived.set()

    async def run(self) -> None:
        """Write until cancelled; while the database refuses, or does not know a meter yet, try again with backoff."""
        wait_s = FIRST_WAIT_S
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            reason = "the database does not know these meters yet"
            try:
                await self._write_all()
            except StoreError as error:
                reason = str(error)
            if not self._waiting:
                wait_s = FIRST_WAIT_S
                continue
            log.warning("meter_identities_wait", meters=len(self._waiting), reason=reason)
            self._arrived.set()
            await asyncio.sleep(random.uniform(wait_s / 2, wait_s))  # noqa: S311 - it spreads attempts
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    async def _write_all(self) -> None:
        """Write all that waits, of each meter the oldest first; meters that the database does not know stay waiting."""
        pending = list(self._waiting)
        while pending:
            some = {meter_id: self._waiting[meter_id][0] for meter_id in pending[:AT_ONCE]}
            del pending[:AT_ONCE]
            for meter_id in await self._write_some(some):
                seen = self._waiting[meter_id]
                # Seen again while it was being written: its last time is new.
                if seen[0] == some[meter_id]:
                    del seen[0]
                if seen:
                    pending.append(meter_id)
                else:
                    del self._waiting[meter_id]

    async def _write_some(self, some: Mapping[int, _Seen]) -> Sequence[int]:
        """Return the meters that need not be written again; what can never be written is given up alone."""
        try:
            return await self._write(some)
        except BadRow as error:
            if len(some) > 1:
                alone = [await self._write_some({meter_id: seen}) for meter_id, seen in some.items()]
                return [meter_id for written in alone for meter_id in written]
            log.error("meter_identity_lost", meter_id=next(iter(some)), reason=str(error))  # noqa: TRY400 - it says all
            return list(some)

    async def _write(self, some: Mapping[int, _Seen]) -> Sequence[int]:
        async with session(self._pool, "write down who answers behind meters") as connection:
            with deadline(connection, TIMEOUT_S):
                async with connection.transaction():
                    mirrored = [row["meter_id"] for row in await connection.fetch(MIRRORED, list(some))]
                    await _store(connection, {meter_id: some[meter_id] for meter_id in mirrored})
        return mirrored


async def _store(connection: Session, some: Mapping[int, _Seen]) -> None:
    known = {row["meter_id"]: row for row in await connection.fetch(KNOWN, list(some))}
    rows: list[Sequence[object]] = []
    swaps: list[tuple[int, object, str, str]] = []
    for meter_id, seen in some.items():
        old, new = known.get(meter_id), seen.identity
        first_seen = to_datetime(seen.first_us)
        if old is not None:
            before = DeviceIdentity(old["serial"], old["model"], old["firmware"])
            if is_another_device(before, new):
                swaps.append((meter_id, first_seen, _detail(old, new), _note(before, new, old["last_seen"])))
                log.warning("meter_swapped", meter_id=meter_id, was=_words(before), now=_words(new))
            else:
                # What a device does not tell today is not unsaid.
                new = DeviceIdentity(
                    new.serial or before.serial, new.model or before.model, new.firmware or before.firmware
                )
                first_seen = old["first_seen"]
        rows.append((meter_id, new.serial, new.model, new.firmware, first_seen, to_datetime(seen.last_us)))
    await connection.executemany(UPSERT, rows)
    if swaps:
        async with events_changed(connection, [meter_id for meter_id, *_ in swaps]):
            await connection.executemany(SWAP, swaps)


def _detail(old: asyncpg.Record, new: DeviceIdentity) -> str:
    what = ("serial", "model", "firmware")
    before = {name: old[name] for name in what} | {"last_seen": old["last_seen"].isoformat()}
    return json.dumps({"old": before, "new": {name: getattr(new, name) for name in what}})


def _note(old: DeviceIdentity, new: DeviceIdentity, last_seen: datetime) -> str:
    return f"{_words(new)} answers where {_words(old)} was last seen at {last_seen.isoformat(timespec='seconds')}"


def _words(identity: DeviceIdentity) -> str:
    serial = "a device without serial number" if identity.serial is None else f"serial {identity.serial}"
    return serial if identity.model is None else f"{serial} ({identity.model})"
