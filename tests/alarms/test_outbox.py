from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from emsd.alarms.engine import AlarmEngine
from emsd.alarms.oncall import OnCall
from emsd.alarms.outbox import LONGEST_DELAY_S, Outbox, retry_delay_s
from emsd.alarms.stats import AlarmStats
from emsd.plant.models import NotificationTarget
from emsd.readings import reading_of
from emsd.store.outbox import NoticeState, claim, mark_sent
from emsd.store.pool import Pool, open_pool
from tests.alarms.notices import notices

if TYPE_CHECKING:
    from tests.alarms.conftest import MakeRule, Network, Webhook

    Until = Callable[..., Awaitable[None]]

S = 1_000_000
T0 = 1_750_000_000 * S
METER = 1_000_001
ALARM = "ALARM (high): Power too high, Cleanroom feeder"
RETURNED = "RETURNED (high): Power too high, Cleanroom feeder"


def on_call(**ports: int) -> OnCall:
    return OnCall(
        [
            NotificationTarget.model_validate({"key": key, "url": f"json://127.0.0.1:{port}/?rto=60"})
            for key, port in ports.items()
        ]
    )


def outbox_of(pool: Pool, targets: OnCall, *, most_attempts: int = 1000) -> Outbox:
    return Outbox(pool, targets, poll_interval_s=0.05, most_attempts=most_attempts, delay_s=lambda _: 0.01)


@asynccontextmanager
async def running(box: Outbox) -> AsyncIterator[Outbox]:
    task = asyncio.create_task(box.run(), name="outbox")
    try:
        yield box
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def raise_alarms(pool: Pool, make_rule: MakeRule, until: Until, values: Sequence[float], *targets: str) -> None:
    """Let an engine persist what these values mean, one second apart, and stop it."""
    engine = AlarmEngine([make_rule(targets=targets or ("hook",))], pool, site_id=1, now_us=lambda: T0 + 3600 * S)
    task = asyncio.create_task(engine.run(), name="engine")
    for second, value in enumerate(values):
        engine.observe(reading_of(METER, T0 + second * S, {"active_power_kw": value}))
    await until(lambda: engine.stats.queue_depth == 0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def settled(pool: Pool) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return all(row.state in {NoticeState.SENT, NoticeState.FAILED} for row in await notices(pool))

    return check


async def test_an_alarm_is_delivered_once_and_so_is_its_return(
    pool: Pool, make_rule: MakeRule, webhook: Webhook, until: Until
) -> None:
    await raise_alarms(pool, make_rule, until, [310, 200])
    async with running(outbox_of(pool, on_call(hook=webhook.port))) as box:
        await until(settled(pool))
    assert webhook.titles() == [ALARM, RETURNED]
    assert [message["type"] for message in webhook.received] == ["failure", "success"]
    rows = await notices(pool)
    assert all(row.state is NoticeState.SENT and row.attempts == 1 and row.sent_at for row in rows)
    assert box.stats.notifications_sent == 2

    async with running(outbox_of(pool, on_call(hook=webhook.port))):
        await raise_alarms(pool, make_rule, until, [310])
        await until(settled(pool))
    assert webhook.titles() == [ALARM, RETURNED, ALARM]


async def test_the_engine_wakes_the_outbox(pool: Pool, make_rule: MakeRule, webhook: Webhook, until: Until) -> None:
    stats = AlarmStats()
    box = Outbox(pool, on_call(hook=webhook.port), stats=stats, poll_interval_s=3600)
    engine = AlarmEngine([make_rule()], pool, site_id=1, on_notice=box.wake, stats=stats)
    async with running(box):
        await raise_alarms(pool, make_rule, until, [310])  # before it looks for the first time, or after: both must do
        task = asyncio.create_task(engine.run(), name="engine")
        await until(lambda: stats.standing == 1)
        engine.observe(reading_of(METER, T0 + 10 * S, {"active_power_kw": 100.0}))
        await until(lambda: webhook.titles() == [ALARM, RETURNED])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_webhook_that_is_down_is_tried_again_until_it_is_back(
    pool: Pool, make_rule: MakeRule, webhook: Webhook, until: Until
) -> None:
    webhook.answer = 503
    await raise_alarms(pool, make_rule, until, [310, 200])
    async with running(outbox_of(pool, on_call(hook=webhook.port))) as box:
        await until(lambda: webhook.requests >= 3)
        rows = await notices(pool)
        assert rows[0].attempts >= 2
        assert "503" in str(rows[0].last_error)
        assert (rows[1].state, rows[1].attempts) == (NoticeState.PENDING, 0)  # nobody hears of a return first
        webhook.answer = 200
        await until(settled(pool))
    assert webhook.titles() == [ALARM, RETURNED]
    assert box.stats.notifications_sent == 2
    assert box.stats.notifications_retried >= 3


async def test_a_notification_is_given_up_after_the_last_attempt_and_says_why(
    pool: Pool, make_rule: MakeRule, webhook: Webhook, until: Until
) -> None:
    webhook.answer = 500
    await raise_alarms(pool, make_rule, until, [310])
    async with running(outbox_of(pool, on_call(hook=webhook.port), most_attempts=3)) as box:
        await until(settled(pool))
    [row] = await notices(pool)
    assert (row.state, row.attempts, webhook.requests) == (NoticeState.FAILED, 3, 3)
    assert "500" in str(row.last_error)
    assert (box.stats.notifications_failed, box.stats.notifications_retried) == (1, 2)


async def test_a_lost_answer_is_not_sent_again_and_is_visible_as_unknown(
    pool: Pool, make_rule: MakeRule, webhook: Webhook, until: Until
) -> None:
    webhook.answer = None
    await raise_alarms(pool, make_rule, until, [310])
    with capture_logs() as logs:
        async with running(outbox_of(pool, on_call(hook=webhook.port))) as box:
            await until(settled(pool))
    [row] = await notices(pool)
    assert row.state is NoticeState.FAILED
    assert "delivery is unknown" in str(row.last_error)
    assert (webhook.requests, box.stats.notifications_unknown) == (1, 1)
    assert [entry["log_level"] for entry in logs if entry["event"] == "notification_unknown"] == ["error"]


async def test_a_crash_between_claim_and_outcome_is_never_sent_again_and_loses_nothing_that_was_pending(
    pool: Pool, make_rule: MakeRule, webhook: Webhook, until: Until
) -> None:
    await raise_alarms(pool, make_rule, until, [310, 200])
    crashed = await claim(pool, "hook")  # and then its process was gone
    assert crashed is not None
    with capture_logs() as logs:
        async with running(outbox_of(pool, on_call(hook=webhook.port))) as box:
            await until(settled(pool))
    assert webhook.titles() == [RETURNED]
    first, second = await notices(pool)
    assert (first.state, second.state) == (NoticeState.FAILED, NoticeState.SENT)
    assert "delivery is unknown" in str(first.last_error)
    assert box.stats.notifications_unknown == 1
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert [entry["notification_id"] for entry in errors] == [crashed.notification_id]


_OUTBOX_PROCESS = """
import asyncio, sys
from emsd.alarms.oncall import OnCall
from emsd.alarms.outbox import Outbox
from emsd.plant.models import NotificationTarget
from emsd.store.pool import open_pool

async def main(database_url, webhook_url):
    target = NotificationTarget.model_validate({"key": "hook", "url": webhook_url})
    async with open_pool(database_url) as pool:
        await Outbox(pool, OnCall([target])).run()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_process_killed_in_the_middle_of_a_send_is_not_followed_by_a_second_message(
    pool: Pool, plant_url: str, make_rule: MakeRule, webhook: Webhook, until: Until
) -> None:
    await raise_alarms(pool, make_rule, until, [310, 200])
    webhook.gate.clear()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OUTBOX_PROCESS, plant_url, f"json://127.0.0.1:{webhook.port}/?rto=60"
    )
    try:
        await until(lambda: webhook.requests == 1)
    finally:
        process.kill()
        await process.wait()
    webhook.gate.set()
    async with running(outbox_of(pool, on_call(hook=webhook.port))):
        await until(settled(pool))
    assert webhook.titles() == [ALARM, RETURNED]
    assert [row.state for row in await notices(pool)] == [NoticeState.FAILED, NoticeState.SENT]


async def test_a_stop_in_the_middle_of_a_send_waits_for_its_outcome(
    pool: Pool, make_rule: MakeRule, webhook: Webhook, until: Until
) -> None:
    await raise_alarms(pool, make_rule, until, [310])
    webhook.gate.clear()
    task = asyncio.create_task(outbox_of(pool, on_call(hook=webhook.port)).run(), name="outbox")
    await until(lambda: webhook.requests == 1)
    task.cancel()
    await asyncio.sleep(0)
    webhook.gate.set()
    await asyncio.gather(task, return_exceptions=True)
    [row] = await notices(pool)
    assert row.state is NoticeState.SENT


async def test_the_process_that_sent_has_the_last_word(
    pool: Pool, make_rule: MakeRule, webhook: Webhook, until: Until
) -> None:
    """Another process that starts meanwhile finds the row in delivery and cannot know better."""
    await raise_alarms(pool, make_rule, until, [310])
    mine = await claim(pool, "hook")
    assert mine is not None
    async with running(outbox_of(pool, on_call(hook=webhook.port))) as other:
        await until(lambda: other.stats.notifications_unknown == 1)
    await mark_sent(pool, mine.notification_id)
    [row] = await notices(pool)
    assert (row.state, row.last_error) == (NoticeState.SENT, None)
    assert webhook.requests == 0


async def test_a_notification_that_another_process_is_claiming_is_passed_over(
    pool: Pool, make_rule: MakeRule, until: Until
) -> None:
    await raise_alarms(pool, make_rule, until, [310])
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM notification_outbox FOR UPDATE")
        assert await claim(pool, "hook") is None
    claims = await asyncio.gather(*(claim(pool, "hook") for _ in range(8)))
    assert [each.attempts for each in claims if each is not None] == [1]


async def test_two_outboxes_never_send_the_same_notification(
    pool: Pool, make_rule: MakeRule, webhook: Webhook, until: Until
) -> None:
    boxes = [outbox_of(pool, on_call(hook=webhook.port)) for _ in range(2)]
    async with running(boxes[0]), running(boxes[1]):
        await raise_alarms(pool, make_rule, until, [310, 200] * 8)
        await until(settled(pool))
    assert webhook.titles() == [ALARM, RETURNED] * 8
    assert sum(box.stats.notifications_sent for box in boxes) == 16


async def test_a_target_that_hangs_does_not_delay_another(
    pool: Pool, make_rule: MakeRule, webhook: Webhook, second_webhook: Webhook, until: Until
) -> None:
    webhook.gate.clear()
    await raise_alarms(pool, make_rule, until, [310, 200], "slow", "quick")
    async with running(outbox_of(pool, on_call(slow=webhook.port, quick=second_webhook.port))):
        await until(lambda: second_webhook.titles() == [ALARM, RETURNED])
        assert webhook.titles() == [ALARM]
        webhook.gate.set()
        await until(settled(pool))
    assert webhook.titles() == [ALARM, RETURNED]


async def test_what_waits_for_a_target_that_left_the_plant_is_given_up(
    pool: Pool, make_rule: MakeRule, webhook: Webhook, until: Until
) -> None:
    await raise_alarms(pool, make_rule, until, [310], "gone", "hook")
    async with running(outbox_of(pool, on_call(hook=webhook.port))) as box:
        await until(settled(pool))
    rows = {row.target_key: row for row in await notices(pool)}
    assert (rows["gone"].state, rows["hook"].state) == (NoticeState.FAILED, NoticeState.SENT)
    assert rows["gone"].last_error == "its target has left the plant"
    assert box.stats.notifications_failed == 1


async def test_the_outbox_of_a_plant_that_notifies_nobody_stays(pool: Pool, make_rule: MakeRule, until: Until) -> None:
    await raise_alarms(pool, make_rule, until, [310], "gone")
    task = asyncio.create_task(outbox_of(pool, on_call()).run(), name="outbox")
    await until(settled(pool))
    ended, _ = await asyncio.wait({task}, timeout=0.3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not ended, "it should run until cancelled"


async def test_a_database_that_goes_away_during_a_send_does_not_make_it_send_twice(
    pool: Pool, network: Network, make_rule: MakeRule, webhook: Webhook, until: Until
) -> None:
    await raise_alarms(pool, make_rule, until, [310])
    webhook.gate.clear()
    async with open_pool(network.url) as far, running(outbox_of(far, on_call(hook=webhook.port))) as box:
        await until(lambda: webhook.requests == 1)
        network.cut()
        webhook.gate.set()
        await until(lambda: box.stats.notifications_sent == 1)
        assert [row.state for row in await notices(pool)] == [NoticeState.SENDING]
        network.mend()
        await until(settled(pool))
    assert [row.state for row in await notices(pool)] == [NoticeState.SENT]
    assert webhook.requests == 1


def test_the_wait_between_attempts_doubles_up_to_a_cap() -> None:
    assert [retry_delay_s(attempts) for attempts in (1, 2, 3, 4)] == [5, 10, 20, 40]
    assert retry_delay_s(10_000) == LONGEST_DELAY_S
