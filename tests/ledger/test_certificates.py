"""Certificates: entered once, used once, whoever asks and when two ask at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest

from emsd.energy.ledger import compute
from emsd.errors import LedgerRefused, UnknownEntry
from emsd.store.carbon import read_ledger_inputs
from emsd.store.certificate_journal import add_event, list_events, reverse_event
from emsd.store.certificates import add_instrument, instrument_called, list_instruments, valid_until
from tests.ledger.conftest import BERLIN_2026, NOW, Plant
from tests.ledger.entries import certificate, retirement

BEGIN, END = BERLIN_2026
HOUR = timedelta(hours=1)


async def waits_for_a_lock(plant: Plant, work: asyncio.Task[int]) -> None:
    """Return when the work waits for what another session holds; it must not end before that."""
    async with asyncio.timeout(20):
        while not await plant.pool.fetchval(
            "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE NOT granted AND datname = current_database())"
        ):
            assert not work.done(), "it did not take its turn"
            await asyncio.sleep(0.01)


async def test_a_serial_counts_once_and_a_certificate_is_whole_megawatt_hours(plant: Plant) -> None:
    await add_instrument(plant.pool, 1, certificate())
    with pytest.raises(LedgerRefused, match="registry GEC-1 is in the ledger already"):
        await add_instrument(plant.pool, 1, certificate(mwh="7"))
    with pytest.raises(LedgerRefused, match="one certificate is 1 MWh"):
        await add_instrument(plant.pool, 1, certificate("GEC-2", "0.5"))
    await add_instrument(plant.pool, 1, certificate("HOUR-1", "0.5", kind="granular"))
    with pytest.raises(LedgerRefused, match="production ends after it began"):
        await add_instrument(plant.pool, 1, certificate("GEC-3", produced_to=BEGIN))
    assert valid_until("gec", datetime(2028, 2, 29, tzinfo=UTC)) == datetime(2030, 2, 28, tzinfo=UTC)


async def test_no_megawatt_hour_is_used_twice_not_even_by_two_at_once(plant: Plant) -> None:
    number = await add_instrument(plant.pool, 1, certificate())
    await add_event(plant.pool, 1, retirement(number, "300"))
    with pytest.raises(LedgerRefused, match=r"gec GEC-1 has 200 MWh left of 500, not 201"):
        await add_event(plant.pool, 1, retirement(number, "201"))
    tries = await asyncio.gather(
        *(add_event(plant.pool, 1, retirement(number, "120", kind=kind, period_from=None, period_to=None))
          for kind in ("sell", "cancel", "sell", "cancel")), return_exceptions=True,
    )  # fmt: skip
    assert sorted(type(each).__name__ for each in tries) == ["LedgerRefused"] * 3 + ["int"]
    (row,) = await list_instruments(plant.pool, 1)
    assert [row.retired_mwh, row.sold_mwh + row.cancelled_mwh, row.left_mwh] == [300, 120, 80]


async def test_serial_ranges_that_overlap_are_double_use_and_the_message_names_the_other_one(plant: Plant) -> None:
    batch = certificate("GEC-2026-000100", "500", last_serial="GEC-2026-000599")
    number = await add_instrument(plant.pool, 1, batch)
    for serial, last, mwh in (
        ("GEC-2026-000599", None, "1"), ("gec-2026-100", None, "1"), ("GEC-2026-000001", "GEC-2026-000100", "100"),
        ("GEC-2026-000300", "GEC-2026-000900", "601"), ("GEC-2026-000001", "GEC-2026-001000", "1000"),
    ):  # fmt: skip
        overlapping = certificate(serial, mwh, last_serial=last, registry="Registry")
        with pytest.raises(
            LedgerRefused, match=rf"as number {number} of site 1 \(GEC-2026-000100 to GEC-2026-000599\)"
        ):
            await add_instrument(plant.pool, 1, overlapping)
    for serial, last, mwh, problem in (
        ("GEC-7-1", "GEC-7-9", "10", "are 9 certificates of 1 MWh each, not 10 MWh"),
        ("GEC-7-9", "GEC-7-1", "9", "is no range"), ("GEC-7-1", "GEC-8-9", "9", "is no range"),
        ("GEC-7-1", "none", "9", "is no range"),
    ):  # fmt: skip
        with pytest.raises(LedgerRefused, match=problem):
            await add_instrument(plant.pool, 1, certificate(serial, mwh, last_serial=last))
    await add_instrument(plant.pool, 1, certificate("GEC-2026-000600", "1"))
    await add_instrument(plant.pool, 1, certificate("GEC-2027-000100", "1"))
    await add_instrument(plant.pool, 1, certificate("GEC-2026-000100", "1", registry="another registry"))
    async with plant.pool.acquire() as first:
        async with first.transaction():
            await first.execute(
                "INSERT INTO carbon_instrument (site_id, registry, serial, last_serial, kind, level, own_pv,"
                " energy_source, energy_mwh, kg_per_kwh, produced_from, produced_to, valid_to, document, author, note)"
                " SELECT site_id, registry, 'R-1', 'R-500', kind, level, own_pv, energy_source, energy_mwh, kg_per_kwh,"
                " produced_from, produced_to, valid_to, document, author, note FROM carbon_instrument"
                " WHERE instrument_id = $1", number,
            )  # fmt: skip
            second = asyncio.create_task(add_instrument(plant.pool, 1, certificate("R-500", "1")))
            await waits_for_a_lock(plant, second)
        with pytest.raises(LedgerRefused, match=r"R-500 is in the ledger already.*R-1 to R-500"):
            await second


async def test_what_was_entered_by_mistake_is_taken_back_whole_and_its_serials_are_free(plant: Plant) -> None:
    number = await add_instrument(plant.pool, 1, certificate(mwh="5000"))
    void = retirement(number, "5000", kind="void", period_from=None, period_to=None)
    entry = await add_event(plant.pool, 1, retirement(number, "1"))
    with pytest.raises(LedgerRefused, match="has been used; take that back first"):
        await add_event(plant.pool, 1, void)
    await reverse_event(plant.pool, 1, entry, author="l.wei", note="typing error", now=NOW)
    entry = await add_event(plant.pool, 1, void)
    with pytest.raises(LedgerRefused, match="has 0 MWh left"):
        await add_event(plant.pool, 1, retirement(number, "1"))
    right = await add_instrument(plant.pool, 1, certificate(mwh="500"))
    with pytest.raises(LedgerRefused, match="is entered again"):
        await reverse_event(plant.pool, 1, entry, author="l.wei", note="undo", now=NOW)
    voided, kept = await list_instruments(plant.pool, 1)
    assert (voided.instrument_id, voided.is_void, kept.instrument_id, kept.is_void) == (number, True, right, False)
    assert [voided.left_mwh, kept.left_mwh] == [0, 500]
    assert (await instrument_called(plant.pool, 1, "GEC-1")).instrument_id == right


async def test_the_same_kilowatt_hour_covers_no_two_uses_whichever_way_they_are_matched(plant: Plant) -> None:
    """Two connections retire the same certificate, one for its hour and one for the year: one of them gets it."""
    hour = {"kind": "granular", "produced_from": BEGIN + HOUR, "produced_to": BEGIN + 2 * HOUR}
    number = await add_instrument(plant.pool, 1, certificate("HOUR-1", "0.5", **hour))
    of_hour = retirement(number, "0.5", period_from=BEGIN + HOUR, period_to=BEGIN + 2 * HOUR)
    async with plant.pool.acquire() as first:
        async with first.transaction():
            await first.execute(
                "INSERT INTO carbon_instrument_event (instrument_id, kind, energy_mwh, period_from, period_to,"
                " happened_at, document, author, note) VALUES ($1, 'retire', 0.5, $2, $3, $4, 'a', 'a', '')",
                number, of_hour.period_from, of_hour.period_to, NOW,
            )  # fmt: skip
            second = asyncio.create_task(add_event(plant.pool, 1, retirement(number, "0.5")))
            await waits_for_a_lock(plant, second)
        with pytest.raises(LedgerRefused, match=r"has 0 MWh left of 0\.5, not 0\.5"):
            await second
    await plant.fill("incomer", BEGIN, BEGIN + 24 * HOUR, import_kwh=24_000.0)
    for matching in ("yearly", "hourly"):
        await plant.pool.execute(
            "INSERT INTO carbon_settings (site_id, gwp_set, matching) VALUES (1, 'AR5', $1)"
            " ON CONFLICT (site_id) DO UPDATE SET matching = $1", matching,
        )  # fmt: skip
        inputs = await read_ledger_inputs(plant.pool, 1, date(2026, 1, 1), date(2027, 1, 1), now=NOW)
        assert compute(inputs).total.certificate_kwh == 500, matching


async def test_an_entry_is_taken_back_by_another_once_and_its_energy_is_free_again(plant: Plant) -> None:
    number = await add_instrument(plant.pool, 1, certificate())
    entry = await add_event(plant.pool, 1, retirement(number, "500"))
    taken_back = await reverse_event(plant.pool, 1, entry, author="l.wei", note="wrong year", now=NOW)
    with pytest.raises(LedgerRefused, match="taken back before"):
        await reverse_event(plant.pool, 1, entry, author="l.wei", note="again", now=NOW)
    with pytest.raises(LedgerRefused, match="takes one back itself"):
        await reverse_event(plant.pool, 1, taken_back, author="l.wei", note="undo", now=NOW)
    await add_event(plant.pool, 1, retirement(number, "500"))
    journal = await list_events(plant.pool, 1)
    assert [(each.kind, each.is_reversed) for each in journal] == [
        ("retire", True), ("reverse", False), ("retire", False),
    ]  # fmt: skip
    with pytest.raises(UnknownEntry, match="no entry 99"):
        await reverse_event(plant.pool, 1, 99, author="l.wei", note="", now=NOW)


async def test_what_has_expired_or_was_produced_later_covers_nothing(plant: Plant) -> None:
    number = await add_instrument(plant.pool, 1, certificate())
    with pytest.raises(LedgerRefused, match="was valid until"):
        await add_event(plant.pool, 1, retirement(number, "1", happened_at=valid_until("gec", END)))
    early = {"period_from": BEGIN - 48 * HOUR, "period_to": BEGIN}
    with pytest.raises(LedgerRefused, match="after the use"):
        await add_event(plant.pool, 1, retirement(number, "1", **early))
    with pytest.raises(UnknownEntry, match="no certificate or contract 99"):
        await add_event(plant.pool, 1, retirement(99, "1"))
