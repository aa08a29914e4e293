"""What cannot be kept is written down exactly once; what can never be a reading is kept as it came."""

from __future__ import annotations

import asyncpg
import pytest

from emsd.collector import Poison
from emsd.errors import StoreError
from emsd.readings import instant_us, to_datetime
from emsd.store.loss import Loss, write_losses
from emsd.store.pool import Pool
from emsd.store.quarantine import drop_poisons, list_poisons, poisons_numbered, resolve_poison, store_poisons

NOON = 1_774_785_600_000_000


async def test_a_record_of_losses_written_again_is_one_record(pool: Pool) -> None:
    losses = [Loss(1, 10, NOON, NOON + 9, "full"), Loss(2, 1, NOON, NOON, "full")]
    for _ in range(2):
        await write_losses(pool, losses, NOON + 60)
    await write_losses(pool, losses[:1], NOON + 61)
    rows = await pool.fetch("SELECT meter_id, readings, first_time, last_time, reason FROM reading_loss ORDER BY 1")
    assert [(r["meter_id"], r["readings"], instant_us(r["first_time"]), instant_us(r["last_time"])) for r in rows] == [
        (1, 10, NOON, NOON + 9),
        (1, 10, NOON, NOON + 9),
        (2, 1, NOON, NOON),
    ]


async def test_a_message_is_kept_byte_for_byte_whatever_its_text_holds(pool: Pool) -> None:
    payload = bytes(range(256))
    poison = Poison("mqtt://broker/t\x00\ud800'; DROP TABLE reading; --", payload, "not \x00 JSON", NOON, None)
    await store_poisons(pool, [poison, poison])
    rows = await pool.fetch("SELECT * FROM quarantine")
    assert len(rows) == 2
    assert rows[0]["payload"] == payload
    assert rows[0]["source"] == "mqtt://broker/t\ufffd?'; DROP TABLE reading; --"
    assert instant_us(rows[0]["received_at"]) == NOON


async def test_messages_are_kept_all_or_none(pool: Pool) -> None:
    await pool.execute("ALTER TABLE quarantine ADD CONSTRAINT small CHECK (length(payload) < 10)")
    with pytest.raises(StoreError):
        await store_poisons(pool, [Poison("a", b"1", "r", NOON), Poison("b", b"x" * 10, "r", NOON)])
    assert await pool.fetchval("SELECT count(*) FROM quarantine") == 0


async def test_what_is_known_of_a_message_is_kept_with_it(pool: Pool) -> None:
    whole = Poison("mqtt://b/t", b"{", "not JSON", NOON, None, "broker", "hall/\x00press", 1, retained=True)
    begun = Poison("mqtt://b/u", b"xx", "too long", NOON + 1, None, "broker", "u", 0, payload_bytes=1_000_000)
    await store_poisons(pool, [whole, begun])
    second, first = await list_poisons(pool)
    assert (first.connection, first.topic, first.qos, first.retained) == ("broker", "hall/\ufffdpress", 1, True)
    assert (first.payload_bytes, first.is_whole) == (1, True)
    assert (second.payload, second.payload_bytes, second.is_whole) == (b"xx", 1_000_000, False)
    assert instant_us(second.received_at) == NOON + 1


async def test_a_list_is_of_a_meter_since_a_time_the_newest_first_and_no_longer_than_asked(pool: Pool) -> None:
    await store_poisons(pool, [Poison("s", b"1", str(n), NOON + n * 1_000_000, n % 2) for n in range(10)])
    assert [row.reason for row in await list_poisons(pool, limit=3)] == ["9", "8", "7"]
    assert [row.reason for row in await list_poisons(pool, meter_ids=[1])] == ["9", "7", "5", "3", "1"]
    since = to_datetime(NOON + 7_000_000)
    assert [row.reason for row in await list_poisons(pool, since=since, newest_first=False)] == ["7", "8", "9"]
    first = (await list_poisons(pool, newest_first=False, limit=1))[0].quarantine_id
    assert [row.reason for row in await list_poisons(pool, after_id=first + 7, newest_first=False)] == ["8", "9"]


async def test_a_row_is_decided_on_once_and_never_vanishes(pool: Pool) -> None:
    await store_poisons(pool, [Poison("s", b"payload", str(n), NOON, None) for n in range(3)])
    one, two, three = (row.quarantine_id for row in await list_poisons(pool, newest_first=False))
    assert await resolve_poison(pool, one, "ada")
    assert not await resolve_poison(pool, one, "bob")
    assert await drop_poisons(pool, [one, two, 999], "bob") == [two]
    assert [row.quarantine_id for row in await list_poisons(pool)] == [three]
    stored, dropped, still = await poisons_numbered(pool, [three, two, one])
    assert (stored.outcome, stored.resolved_by, stored.payload) == ("stored", "ada", b"payload")
    assert (dropped.outcome, dropped.resolved_by, dropped.payload, dropped.payload_bytes) == ("dropped", "bob", b"", 7)
    assert dropped.resolved_at is not None
    assert (still.outcome, still.resolved_at, still.resolved_by) == (None, None, None)
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute("UPDATE quarantine SET outcome = 'dropped' WHERE quarantine_id = $1", three)
