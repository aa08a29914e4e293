"""The loop that empties the outbox: every transition is told once, or it is visible why not.

One task for each target, so that a target that hangs delays no other. A notification is claimed in a transaction of its
own before it is sent; what a crash left in between is given up as unknown, never sent again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from emsd.alarms.lifecycle import Step
from emsd.alarms.oncall import OnCall, Urgency
from emsd.alarms.stats import AlarmStats
from emsd.errors import DeliveryUnknown, NotifyError, StoreUnavailable
from emsd.plant.models import Priority
from emsd.store import outbox as table
from emsd.store.outbox import ClaimedNotice
from emsd.store.pool import Pool

__all__ = ["MOST_ATTEMPTS", "Outbox", "retry_delay_s"]

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")

MOST_ATTEMPTS: Final = 24
"""With the delays below a target may be away for 45 minutes at least before a notification is given up."""
FIRST_DELAY_S: Final = 5.0
LONGEST_DELAY_S: Final = 300.0
STOP_GRACE_S: Final = 5.0
"""How long a send that has begun is awaited when the service stops [s]."""
_LONGEST_STORE_WAIT_S: Final = 10.0

_INTERRUPTED: Final = "the service stopped during delivery, so delivery is unknown; it was not sent again"


def retry_delay_s(attempts: int) -> float:
    """Return the wait after so many definite failures [s]: doubling from FIRST_DELAY_S, at most LONGEST_DELAY_S."""
    return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(attempts - 1, 30))


class Outbox:
    """Sends what waits in the outbox; reusable after `run` has ended, not reentrant."""

    def __init__(
        self,
        pool: Pool,
        on_call: OnCall,
        *,
        stats: AlarmStats | None = None,
        poll_interval_s: float = 2.0,
        most_attempts: int = MOST_ATTEMPTS,
        delay_s: Callable[[int], float] = retry_delay_s,
    ) -> None:
        self._pool = pool
        self._on_call = on_call
        self._poll_interval_s = poll_interval_s
        self._most_attempts = most_attempts
        self._delay_s = delay_s
        self._woken = {target: asyncio.Event() for target in on_call.targets}
        self.stats = stats if stats is not None else AlarmStats()

    def wake(self) -> None:
        """Say that there is something new, so that it goes out before the next poll."""
        for event in self._woken.values():
            event.set()

    async def run(self) -> None:
        """Send until cancelled; a database that is away is waited for."""
        await self._insist(self._settle_the_past, "settle_interrupted")
        if not self._on_call.targets:
            await asyncio.Event().wait()  # a plant that notifies nobody
        async with asyncio.TaskGroup() as group:
            for target in self._on_call.targets:
                group.create_task(self._serve(target), name=f"outbox-{target}")

    async def _settle_the_past(self) -> None:
        for notification_id, target in await table.fail_unknown(self._pool, reason=_INTERRUPTED):
            self.stats.notifications_unknown += 1
            _log.error("notification_unknown", notification_id=notification_id, target=target, reason=_INTERRUPTED)
        reason = "its target has left the plant"
        orphans = await table.fail_orphans(self._pool, targets=self._on_call.targets, reason=reason)
        for notification_id, target in orphans:
            self.stats.notifications_failed += 1
            _log.error("notification_failed", notification_id=notification_id, target=target, reason=reason)

    async def _serve(self, target: str) -> None:
        woken = self._woken[target]
        while True:
            woken.clear()
            notice = await self._insist(lambda: table.claim(self._pool, target), "claim")
            if notice is not None:
                await self._finish(notice)
                continue
            try:
                async with asyncio.timeout(self._poll_interval_s):
                    await woken.wait()
            except TimeoutError:
                continue

    async def _finish(self, notice: ClaimedNotice) -> None:
        """Deliver a claimed notification; a stop of the service waits a little for its outcome."""
        delivery = asyncio.create_task(self._deliver(notice), name=f"deliver-{notice.notification_id}")
        try:
            await asyncio.shield(delivery)
        except asyncio.CancelledError:
            await asyncio.wait({delivery}, timeout=STOP_GRACE_S)
            delivery.cancel()
            raise

    async def _deliver(self, notice: ClaimedNotice) -> None:
        pool, number = self._pool, notice.notification_id
        facts = {"notification_id": number, "target": notice.target_key, "attempts": notice.attempts}
        try:
            await self._on_call.send(notice.target_key, notice.title, notice.body, _urgency(notice))
        except DeliveryUnknown as error:
            reason = f"{error}; it was not sent again"
            self.stats.notifications_unknown += 1
            _log.error("notification_unknown", **facts, reason=reason)
            await self._insist(lambda: table.mark_failed(pool, number, reason=reason), "settle")
        except NotifyError as error:
            reason = str(error)
            if error.recoverable and notice.attempts < self._most_attempts:
                # Half to the whole of the delay, so that what failed together does not come back together.
                delay_s = self._delay_s(notice.attempts) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
                self.stats.notifications_retried += 1
                _log.warning("notification_retry", **facts, delay_s=round(delay_s, 1), reason=reason)
                await self._insist(lambda: table.put_back(pool, number, reason=reason, delay_s=delay_s), "settle")
            else:
                self.stats.notifications_failed += 1
                _log.error("notification_failed", **facts, reason=reason)
                await self._insist(lambda: table.mark_failed(pool, number, reason=reason), "settle")
        else:
            self.stats.notifications_sent += 1
            _log.info("notification_sent", **facts)
            await self._insist(lambda: table.mark_sent(pool, number), "settle")

    async def _insist(self, step: Callable[[], Awaitable[_T]], doing: str) -> _T:
        """Do one step in the database, again and again while it is away."""
        wait_s = 0.5
        while True:
            try:
                return await step()
            except StoreUnavailable as error:
                _log.warning("outbox_waits", doing=doing, reason=str(error), wait_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_STORE_WAIT_S)


def _urgency(notice: ClaimedNotice) -> Urgency:
    if notice.transition is Step.RETURN:
        return Urgency.SUCCESS
    return Urgency.FAILURE if notice.priority is Priority.HIGH else Urgency.WARNING
