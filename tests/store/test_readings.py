"""What the writer is given is in the table, once and exactly; what cannot be is in quarantine; nothing else changes."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from emsd.errors import StoreError
from emsd.quantities import QUANTITIES
from emsd.readings import Quality, Reading, columns, instant_us, reading_of, to_datetime
from emsd.store.pool import Pool
from emsd.store.readings import ReadingWriter, WriteResult

NOON = instant_us(datetime(2026, 3, 29, 12, tzinfo=UTC))
SECOND = 1_000_000
MINUTE = 60 * SECOND


async def rows(pool: Pool, *names: str) -> list[tuple[Any, ...]]:
    listed = ", ".join(("meter_id", "time", "quality", *names))
    records = await pool.fetch(f"SELECT {listed} FROM reading ORDER BY meter_id, time")
    return [(row["meter_id"], instant_us(row["time"]), row["quality"], *list(row.values())[3:]) for row in records]


async def marks(pool: Pool) -> list[tuple[int, list[int]]]:
    records = await pool.fetch("SELECT bucket, meter_ids FROM dirty_interval ORDER BY mark_id, bucket")
    return sorted((instant_us(row["bucket"]), sorted(row["meter_ids"])) for row in records)


def powers(meter_ids: Sequence[int], time_us: int = NOON, power_kw: float = 5.0) -> list[Reading]:
    return [reading_of(meter_id, time_us, {"active_power_kw": power_kw}) for meter_id in meter_ids]


async def test_every_quantity_comes_back_as_it_went_in(pool: Pool) -> None:
    values = {quantity.name: quantity.minimum + place + 0.1 for place, quantity in enumerate(QUANTITIES)}
    assert await ReadingWriter(pool).write([reading_of(7, NOON + 1, values)]) == WriteResult(1, 0, 0)
    stored = await pool.fetchrow("SELECT * FROM reading")
    assert stored is not None
    assert instant_us(stored["time"]) == NOON + 1
    for quantity in QUANTITIES:
        single = struct.unpack("f", struct.pack("f", values[quantity.name]))[0]
        exact = values[quantity.name] if quantity.sql_type == "double precision" else single
        assert stored[quantity.name] == exact, quantity.name


async def test_a_counter_keeps_every_bit_of_a_double(pool: Pool) -> None:
    counts = [2.0**53 - 1, 123_456_789.012345, math.nextafter(1e15, 0), 5e-324, 0.0]
    batch = [reading_of(1, NOON + i, {"energy_import_kwh": count}) for i, count in enumerate(counts)]
    await ReadingWriter(pool).write(batch)
    assert [row[3] for row in await rows(pool, "energy_import_kwh")] == counts


async def test_what_is_missing_is_null_and_never_zero(pool: Pool) -> None:
    batch = [
        Reading(NOON, 1, columns("active_power_kw", "energy_import_kwh"), (None, 5.0), Quality.MISSING),
        Reading(NOON, 2, columns("active_power_kw", "energy_import_kwh"), (0.0, None), Quality.MISSING),
        Reading(NOON, 3, columns("active_power_kw", "energy_import_kwh"), (None, None), Quality.STALE),
        Reading(NOON, 4, columns("frequency_hz"), (50.0,)),
        Reading(NOON, 5, columns(), (), Quality.STALE),
    ]
    assert await ReadingWriter(pool).write(batch) == WriteResult(5, 0, 0)
    assert await rows(pool, "active_power_kw", "energy_import_kwh", "frequency_hz") == [
        (1, NOON, Quality.MISSING, None, 5.0, None),
        (2, NOON, Quality.MISSING, 0.0, None, None),
        (3, NOON, Quality.STALE, None, None, None),
        (4, NOON, Quality.GOOD, None, None, 50.0),
        (5, NOON, Quality.STALE, None, None, None),
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3.5e38, -1e300])
async def test_a_number_that_no_column_may_hold_becomes_null_and_not_available(pool: Pool, value: float) -> None:
    names = columns("active_power_kw", "active_power_l1_kw", "frequency_hz")
    await ReadingWriter(pool).write(
        [
            Reading(NOON, 1, names, (value, None, 50.0), Quality.MISSING),
            Reading(NOON, 2, names, (1.0, None, 50.0), Quality.MISSING),
        ]
    )
    assert await rows(pool, "active_power_kw", "active_power_l1_kw", "frequency_hz") == [
        (1, NOON, Quality.MISSING | Quality.NOT_AVAILABLE, None, None, 50.0),
        (2, NOON, Quality.MISSING, 1.0, None, 50.0),
    ]


async def test_the_same_reading_twice_is_one_row(pool: Pool) -> None:
    batch = powers(range(1, 2501))
    writer = ReadingWriter(pool)
    assert await writer.write(batch) == WriteResult(2500, 0, 0)
    before = await pool.fetch("SELECT meter_id, xmin::text FROM reading ORDER BY meter_id")
    assert await writer.write(batch) == WriteResult(0, 2500, 0)
    assert await writer.write([*batch[:3], *batch[:3], *powers([9000])]) == WriteResult(1, 6, 0)
    after = await pool.fetch("SELECT meter_id, xmin::text FROM reading WHERE meter_id < 9000 ORDER BY meter_id")
    assert before == after, "a reading delivered again must not cost a dead row"


async def test_partial_readings_of_one_instant_merge_column_by_column_and_the_first_value_stays(pool: Pool) -> None:
    power = reading_of(1, NOON, {"active_power_kw": 5.0, "frequency_hz": None}, Quality.MISSING)
    voltage = reading_of(1, NOON, {"frequency_hz": 50.0, "voltage_l1_n_v": 230.0})
    other = reading_of(1, NOON, {"active_power_kw": 6.0, "energy_import_kwh": 1.5}, Quality.REPLAYED)
    expected = [(1, NOON, Quality.MISSING | Quality.REPLAYED, 5.0, 50.0, 230.0, 1.5)]
    names = ("active_power_kw", "frequency_hz", "voltage_l1_n_v", "energy_import_kwh")
    writer = ReadingWriter(pool)
    for batch in ([power], [voltage], [other]):
        await writer.write(batch)
    assert await rows(pool, *names) == expected
    await pool.execute("TRUNCATE reading")
    assert await writer.write([power, voltage, other]) == WriteResult(1, 2, 0)
    assert await rows(pool, *names) == expected


async def test_readings_and_their_dirty_marks_are_one_transaction(pool: Pool) -> None:
    batch = [*powers([1, 2]), *powers([1], NOON + MINUTE), *powers([1], NOON + MINUTE + 59 * SECOND)]
    await ReadingWriter(pool).write(batch)
    assert await marks(pool) == [(NOON, [1, 2]), (NOON + MINUTE, [1])]
    await pool.execute("DELETE FROM dirty_interval")
    await ReadingWriter(pool).write([*powers([1]), *powers([3])])
    assert await marks(pool) == [(NOON, [1, 3])], "a merged row is dirty too"


@pytest.mark.parametrize("there_already", [False, True], ids=["copied", "merged"])
async def test_when_the_marks_cannot_be_written_no_reading_is(pool: Pool, *, there_already: bool) -> None:
    writer = ReadingWriter(pool)
    if there_already:
        await writer.write(powers([1]))
    before = await rows(pool)
    await pool.execute("ALTER TABLE dirty_interval RENAME TO elsewhere")
    with pytest.raises(StoreError, match="dirty_interval"):
        await writer.write(powers([1, 2]))
    assert await rows(pool) == before
    await pool.execute("ALTER TABLE elsewhere RENAME TO dirty_interval")
    await writer.write(powers([1, 2]))
    assert [row[0] for row in await rows(pool)] == [1, 2]


@pytest.mark.parametrize("place", [0, 500, 999])
async def test_a_row_that_the_database_refuses_is_quarantined_and_the_rest_is_stored(pool: Pool, place: int) -> None:
    await pool.execute("ALTER TABLE reading ADD CONSTRAINT plausible CHECK (active_power_kw < 1000)")
    batch = powers(range(1, 1001))
    batch[place] = reading_of(place + 1, NOON, {"active_power_kw": 2000.0, "frequency_hz": None}, Quality.MISSING)
    assert await ReadingWriter(pool).write(batch) == WriteResult(999, 0, 1)
    assert place + 1 not in {row[0] for row in await rows(pool)}
    [refused] = await pool.fetch("SELECT meter_id, source, reason, payload FROM quarantine")
    assert refused["meter_id"] == place + 1
    assert "plausible" in refused["reason"]
    assert json.loads(refused["payload"]) == {
        "time_us": NOON,
        "meter_id": place + 1,
        "quality": 1,
        "values": {"active_power_kw": 2000.0, "frequency_hz": None},
    }
    assert await marks(pool) == [(NOON, [i for i in range(1, 1001) if i != place + 1])]


async def test_readings_that_are_none_are_quarantined_with_their_reason(pool: Pool) -> None:
    names = columns("active_power_kw", "frequency_hz")
    text: Any = "12.5 kW"
    batch = [
        *powers(range(1, 50)),
        Reading(-1, 100, names, (1.0, 50.0)),
        Reading(10**30, 101, names, (1.0, 50.0)),
        Reading(NOON, 2**31, names, (1.0, 50.0)),
        Reading(NOON, 103, names, (1.0, 50.0), 2**15),
        Reading(NOON, 104, names, (1.0,)),
        Reading(NOON, 105, names, (text, 50.0)),
        Reading(NOON, 105, names, (1.0, 50.0)),
        *powers(range(200, 250)),
    ]
    assert await ReadingWriter(pool).write(batch) == WriteResult(100, 0, 6)
    reasons = [row["reason"] for row in await pool.fetch("SELECT reason FROM quarantine ORDER BY payload")]
    expected = [
        "meter_id 2147483648 is not 1..2147483647",
        "time -1 us since 1970 is not an instant of the years 1970 to 9999",
        f"time {10**30} us since 1970 is not an instant of the years 1970 to 9999",
        "quality 32768 is not 0..32767",
        "it has 1 values for 2 columns",
        "active_power_kw '12.5 kW' is not a number",
    ]
    assert sorted(reasons) == sorted(expected)
    assert {row[0] for row in await rows(pool)} == {*range(1, 50), 105, *range(200, 250)}


async def test_a_batch_of_nothing_but_impossible_rows_is_quarantined_whole(pool: Pool) -> None:
    batch = [Reading(-place, 1, columns("frequency_hz"), (50.0,)) for place in range(1, 6)]
    assert await ReadingWriter(pool).write(batch) == WriteResult(0, 0, 5)
    assert await pool.fetchval("SELECT count(*) FROM quarantine") == 5
    assert await ReadingWriter(pool).write([]) == WriteResult(0, 0, 0)


async def test_a_missing_column_is_nobodys_bad_row(pool: Pool) -> None:
    await pool.execute("ALTER TABLE reading DROP COLUMN frequency_hz")
    with pytest.raises(StoreError, match=r"frequency_hz.*emsd migrate"):
        await ReadingWriter(pool).write([reading_of(1, NOON, {"frequency_hz": 50.0})])
    assert await pool.fetchval("SELECT count(*) FROM quarantine") == 0


async def test_the_writer_keeps_its_session_and_gets_a_new_one_when_it_is_lost(pool: Pool) -> None:
    async with ReadingWriter(pool) as writer:
        await writer.write(powers([1]))
        [pid] = [
            row["pid"]
            for row in await pool.fetch(
                "SELECT pid FROM pg_stat_activity WHERE query LIKE 'COMMIT%' AND datname = current_database()"
            )
        ]
        await pool.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
        with pytest.raises(StoreError):
            await writer.write(powers([2]))
        assert await writer.write(powers([2])) == WriteResult(1, 0, 0)
    assert [row[0] for row in await rows(pool)] == [1, 2]


def test_times_are_exact_to_the_microsecond_over_the_whole_range() -> None:
    for time_us in (0, 1, NOON + 1, 253_402_300_799_999_999):
        assert instant_us(to_datetime(time_us)) == time_us
