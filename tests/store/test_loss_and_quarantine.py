"""What cannot be kept is written down exactly once; what can never be a reading is kept as it came."""

from __future__ import annotations

import pytest

from emsd.collector import Poison
from emsd.errors import StoreError
from emsd.readings import instant_us
from emsd.store.loss import Loss, write_losses
from emsd.store.pool import Pool
from emsd.store.quarantine import store_poisons

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
