"""Whatever the batching, duplication and order of arrival, the table equals the merge of what arrived."""

from __future__ import annotations

import asyncio
import math
import struct
from typing import TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emsd.quantities import BY_NAME, Kind
from emsd.readings import Quality, Reading, columns
from emsd.store.pool import open_pool
from emsd.store.readings import ReadingWriter, WriteResult

NAMES = ("active_power_kw", "frequency_hz", "energy_import_kwh", "run_state")
NOON = 1_774_785_600_000_000
Row: TypeAlias = tuple[int, dict[str, float]]

values = st.one_of(st.none(), st.floats(-1e6, 1e6, width=32), st.sampled_from([math.nan, math.inf, 1e39, 0.0, 1 / 3]))


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=len(NAMES)))
    return Reading(
        NOON + draw(st.integers(0, 3)) * 40_000_000,
        draw(st.integers(1, 3)),
        columns(*names),
        tuple(draw(values) for _ in names),
        draw(st.sampled_from([0, int(Quality.MISSING), int(Quality.REPLAYED)])),
    )


batches = st.lists(st.lists(readings(), max_size=12), max_size=6)


def merge(arrived: list[Reading]) -> dict[tuple[int, int], Row]:
    """The merge, written as its definition: the first value of a column stays, quality flags add up."""
    table: dict[tuple[int, int], Row] = {}
    for reading in arrived:
        quality, row = table.get((reading.meter_id, reading.time_us), (0, {}))
        quality |= reading.quality
        for name, value in zip(reading.columns, reading.values, strict=True):
            if value is None:
                continue
            single = BY_NAME[name].kind is Kind.GAUGE
            if not math.isfinite(value) or (single and abs(value) > 3.4028234663852886e38):
                quality |= Quality.NOT_AVAILABLE
            else:
                row.setdefault(name, struct.unpack("f", struct.pack("f", value))[0] if single else value)
        table[reading.meter_id, reading.time_us] = (int(quality), row)
    return table


async def check(url: str, arrived: list[list[Reading]]) -> None:
    expected = merge([reading for batch in arrived for reading in batch])
    async with open_pool(url, max_size=2) as pool, ReadingWriter(pool) as writer:
        await pool.execute("TRUNCATE reading, dirty_interval")
        total = WriteResult(0, 0, 0)
        for batch in arrived:
            result = await writer.write(batch)
            assert result.stored + result.merged + result.quarantined == len(batch)
            total += result
        records = await pool.fetch("SELECT * FROM reading")
        dirty = await pool.fetch(
            "SELECT extract(epoch FROM bucket)::bigint AS at, unnest(meter_ids) FROM dirty_interval"
        )
    assert total.stored == len(expected)
    assert total.quarantined == 0
    table = {
        (row["meter_id"], round(row["time"].timestamp() * 1e6)): (
            row["quality"],
            {name: row[name] for name in NAMES if row[name] is not None},
        )
        for row in records
    }
    assert table == expected
    assert {tuple(row) for row in dirty} == {(time_us // 60_000_000 * 60, meter_id) for meter_id, time_us in expected}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrived=batches)
def test_the_table_equals_the_merge_of_what_arrived(database_url: str, arrived: list[list[Reading]]) -> None:
    asyncio.run(check(database_url, arrived))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrived=batches, data=st.data())
def test_batches_that_are_delivered_again_change_nothing(
    database_url: str, arrived: list[list[Reading]], data: st.DataObject
) -> None:
    again = [batch for batch in arrived if data.draw(st.booleans())]
    asyncio.run(check(database_url, [*arrived, *again]))
