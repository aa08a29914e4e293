"""A virtual meter whose inputs are estimated is estimated, and says which part of it was measured."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from emsd.accounting import Accounting
from emsd.accounting.estimating import Estimating
from emsd.accounting.virtual import VirtualMeters
from emsd.energy import BUCKET_15M_US, bucket_edges, datetime_to_us, local_day_edges
from emsd.readings import Reading
from emsd.store.best_energy import read_best_energy, summed
from emsd.store.pool import Pool
from emsd.store.reads import snapshot
from tests.accounting import test_estimating as single
from tests.accounting.test_estimating import ACCOUNTS, BERLIN, COUNTER, MONDAY, POWER_ONLY, THURSDAY_MORNING, history

pool = single.pool
NOW = MONDAY + timedelta(days=5, hours=1)
BOTH, TWICE, REST = 1_000_011, 1_000_012, 1_000_013
"""Two added up, unknown where one is missing; the double of that; what is left of one, by what is known."""
VIRTUAL: Mapping[int, tuple[str, Mapping[int, float]]] = {
    BOTH: ("unknown", {COUNTER: 1.0, POWER_ONLY: 1.0}),
    TWICE: ("unknown", {BOTH: 2.0}),
    REST: ("partial", {COUNTER: 1.0, POWER_ONLY: -2.0}),
}
IN_GAP = datetime_to_us(MONDAY + timedelta(days=3, hours=10))


async def configure(pool: Pool) -> None:
    await single._insert_meters(pool)
    for meter_id, (missing, factors) in VIRTUAL.items():
        await pool.execute(
            "INSERT INTO meter (meter_id, site_id, asset_id, key, name, profile, connection, address, measures_energy,"
            " poll_interval_s, max_gap_s, kind) SELECT $1, 1, asset_id, $2, 'V', 'virtual', '', '', true, 60, 300,"
            " 'virtual' FROM asset",
            meter_id,
            f"virtual-{meter_id}",
        )
        await pool.execute("INSERT INTO virtual_meter VALUES ($1, 'x', $2)", meter_id, missing)
        await pool.executemany(
            "INSERT INTO virtual_meter_input VALUES ($1, $2, $3)", [(meter_id, *each) for each in factors.items()]
        )


def keeper(pool: Pool, now: datetime = NOW) -> Accounting:
    virtual = VirtualMeters(BERLIN)
    estimating = Estimating(ACCOUNTS, BERLIN, virtual=lambda: virtual.written, now=lambda: now)
    accounting = Accounting(pool, ACCOUNTS, BERLIN, now=lambda: now)
    accounting.after_pass += [virtual.after_pass, estimating.after_pass]
    return accounting


async def best(pool: Pool, meter_id: int, bucket_us: int = IN_GAP) -> dict[str, Any]:
    row = await pool.fetchrow(
        "SELECT * FROM best_15m WHERE meter_id = $1 AND bucket = to_timestamp($2::bigint / 1000000)",
        meter_id,
        bucket_us,
    )
    assert row is not None
    return dict(row)


async def stored(pool: Pool) -> list[tuple[object, ...]]:
    return await single._all(pool)


async def test_a_virtual_meter_has_the_estimates_of_its_inputs_and_what_was_measured_stays_measured(pool: Pool) -> None:
    await configure(pool)
    accounting = keeper(pool)
    await single.Keeper.take(Taking(pool, accounting), [*history(5), *history(5, [THURSDAY_MORNING], meter=POWER_ONLY)])
    measured, estimated = await best(pool, COUNTER), await best(pool, POWER_ONLY)
    assert measured["estimated_import_kwh"] == 0 < estimated["estimated_import_kwh"] == estimated["energy_import_kwh"]
    both, twice, rest = [await best(pool, each) for each in VIRTUAL]
    kwh, share = measured["energy_import_kwh"], estimated["energy_import_kwh"]
    assert (both["energy_import_kwh"], both["estimated_import_kwh"]) == pytest.approx((kwh + share, share))
    assert (twice["energy_import_kwh"], twice["estimated_import_kwh"]) == pytest.approx(
        (2 * kwh + 2 * share, 2 * share)
    )
    # More is taken off than was measured, so it is export; and all of that is estimated.
    assert (rest["energy_import_kwh"], rest["estimated_import_kwh"]) == (0, 0)
    assert (rest["energy_export_kwh"], rest["estimated_export_kwh"]) == pytest.approx(
        (2 * share - kwh, 2 * share - kwh)
    )
    own = await pool.fetchrow("SELECT * FROM interval_15m WHERE meter_id = $1 AND bucket = $2", BOTH, both["bucket"])
    assert own is not None
    assert (own["energy_import_kwh"], own["coverage"], both["coverage"]) == (None, 0, 0), "intervals say what was read"
    rows = await pool.fetch("SELECT DISTINCT meter_id, method FROM estimate_15m ORDER BY meter_id")
    assert [tuple(row) for row in rows] == [(POWER_ONLY, "like_days"), *((each, "inputs") for each in VIRTUAL)]

    begin, end = datetime_to_us(MONDAY), datetime_to_us(MONDAY + timedelta(days=5))
    edges = bucket_edges(begin, end, BUCKET_15M_US)
    days = local_day_edges(MONDAY.date(), MONDAY.date() + timedelta(days=5), BERLIN)
    meters = [COUNTER, POWER_ONLY, *VIRTUAL]
    async with snapshot(pool, "test") as connection:
        series = await read_best_energy(connection, meters, "15m", edges)
        by_day = await read_best_energy(connection, meters, "1d", days)
    sums = series[COUNTER].import_kwh + series[POWER_ONLY].import_kwh
    np.testing.assert_allclose(series[BOTH].import_kwh, sums)
    np.testing.assert_allclose(series[BOTH].estimated_import_kwh, series[POWER_ONLY].estimated_import_kwh)
    for view, found in (("best_15m", series), ("best_1d", by_day)):
        rows = await pool.fetch(
            "SELECT meter_id, sum(energy_import_kwh) AS taken, sum(energy_export_kwh) AS given,"
            f" sum(estimated_import_kwh) AS taken_more, sum(estimated_export_kwh) AS given_more FROM {view}"
            " GROUP BY 1 ORDER BY 1"
        )
        for row in rows:
            each = found[row["meter_id"]]
            columns = (each.import_kwh, each.export_kwh, each.estimated_import_kwh, each.estimated_export_kwh)
            known = [value or 0.0 for value in list(row)[1:]]
            assert known == pytest.approx([np.nansum(column) for column in columns]), (view, row["meter_id"])
    for meter_id in VIRTUAL:
        np.testing.assert_allclose(summed(series[meter_id], days).net_kwh, by_day[meter_id].net_kwh)


class Taking(single.Keeper):
    """What `single.Keeper` does, with virtual meters."""

    def __init__(self, pool: Pool, accounting: Accounting) -> None:
        self.pool, self.accounting = pool, accounting


async def test_in_whatever_order_readings_come_estimates_of_virtual_meters_end_the_same(pool: Pool) -> None:
    chance = random.Random(1)
    await configure(pool)
    pieces: list[list[Reading]] = []
    for meter in (COUNTER, POWER_ONLY):
        outages = [
            (timedelta(minutes=chance.randrange(2 * 24 * 60)), timedelta(minutes=chance.randrange(70, 900)))
            for _ in range(3)
        ]
        readings = history(2, outages, meter=meter)
        while readings:
            size = chance.randrange(200, 700)
            pieces.append(readings[:size])
            readings = readings[size:]
    chance.shuffle(pieces)
    taking = Taking(pool, keeper(pool, MONDAY + timedelta(days=3, hours=9)))
    for piece in pieces:
        await taking.take(piece)
    kept = await stored(pool)
    assert {row[0] for row in kept} == {COUNTER, POWER_ONLY, *VIRTUAL}
    sums = await pool.fetch(
        "SELECT sum(energy_import_kwh) AS kwh, sum(estimated_import_kwh) AS estimated,"
        " sum(energy_import_kwh) FILTER (WHERE meter_id = $1) AS both,"
        " sum(estimated_import_kwh) FILTER (WHERE meter_id = $1) AS both_estimated"
        " FROM best_15m WHERE meter_id = ANY($2::integer[])"
        " AND bucket IN (SELECT bucket FROM estimate_15m WHERE meter_id = $1) GROUP BY bucket",
        BOTH,
        [COUNTER, POWER_ONLY, BOTH],
    )
    assert len(sums) > 40
    for row in sums:
        assert (2 * row["both"], 2 * row["both_estimated"]) == pytest.approx((row["kwh"], row["estimated"]), abs=1e-6)
    assert not await pool.fetchval("SELECT count(*) FROM estimate_due")
    await pool.execute("TRUNCATE interval_1m, interval_15m, interval_1d, dirty_interval, dirty_day, estimate_15m")
    await pool.execute(
        "INSERT INTO dirty_interval (bucket, meter_ids)"
        " SELECT time_bucket('1 minute', time), array_agg(DISTINCT meter_id) FROM reading GROUP BY 1"
    )
    await keeper(pool, MONDAY + timedelta(days=3, hours=9)).run_until_clean()
    assert await stored(pool) == kept


async def test_an_estimate_of_a_virtual_meter_follows_the_measured_inputs_and_its_expression(pool: Pool) -> None:
    await configure(pool)
    taking = Taking(pool, keeper(pool))
    begin, length = THURSDAY_MORNING
    late = [each for each in history(5) if begin <= each.time - MONDAY <= begin + length]
    early = [each for each in history(5, [THURSDAY_MORNING]) if each not in late]
    await taking.take([*early, *history(5, [THURSDAY_MORNING], meter=POWER_ONLY)])
    before = await best(pool, BOTH)
    assert before["estimated_import_kwh"] == pytest.approx(before["energy_import_kwh"])
    await taking.take(late)
    after = await best(pool, BOTH)
    share = (await best(pool, POWER_ONLY))["energy_import_kwh"]
    assert after["estimated_import_kwh"] == pytest.approx(share)
    # Another expression counts for the past, estimates included; a day a pass.
    await pool.execute("UPDATE virtual_meter_input SET factor = 3 WHERE meter_id = $1 AND input_meter_id = $2",
                       BOTH, POWER_ONLY)  # fmt: skip
    await pool.execute("UPDATE virtual_meter SET pending_before = $2 WHERE meter_id = $1", BOTH, NOW)
    await taking.accounting.run_until_clean()
    assert (await best(pool, BOTH))["estimated_import_kwh"] == pytest.approx(3 * share)
    assert (await best(pool, TWICE))["estimated_import_kwh"] == pytest.approx(6 * share)
    # When everything is there, nothing is estimated.
    whole = history(5, meter=POWER_ONLY)
    await taking.take([each for each in whole if begin <= each.time - MONDAY <= begin + length])
    assert await stored(pool) == []
