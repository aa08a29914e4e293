"""Inputs of key figures follow what is written down of meters, and what is computed anew."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from emsd.accounting import Accounting, accounts_of
from emsd.accounting.kpi_inputs import KpiInputs
from emsd.accounting.request import ask, follow
from emsd.energy.events import EventKind, MeterEvent
from emsd.plant.loader import LoadedPlant
from emsd.readings import instant_us, reading_of
from emsd.store.meter_events import add_event
from tests.accounting import test_kpi_inputs as inputs
from tests.accounting.test_kpi_inputs import BEGIN, QUARTER, STEP_S, World

world = inputs.world


async def write_down(world: World, meter: str, kind: EventKind, at: datetime, **facts: float) -> None:
    event = MeterEvent(kind, instant_us(at), **facts)  # type: ignore[arg-type]
    await add_event(world.pool, world.ids[meter], event, author="l.wei", note="a test", now=world.now)
    await world.compute()


async def test_other_current_transformers_multiply_reactive_energy_too_and_its_power_factor_stays(world: World) -> None:
    await world.write(world.chiller(-600, 3000))
    await world.compute()
    await write_down(world, "feeder", EventKind.CT_RATIO, BEGIN + QUARTER, factor=2.0)
    rows = await world.rows()
    assert rows["chiller", BEGIN]["reactive_kvarh"] == pytest.approx(250 / 4)
    assert rows["chiller", BEGIN + QUARTER]["reactive_kvarh"] == pytest.approx(2 * 250 / 4)
    active = await world.pool.fetchval("SELECT energy_import_kwh FROM interval_15m WHERE bucket = $1", BEGIN + QUARTER)
    assert active == pytest.approx(2 * 500 / 4)


async def test_a_swapped_counter_of_pieces_never_credits_the_whole_life_of_the_new_one(world: World) -> None:
    """As Home Assistant issue 59491 has it of energy; of pieces no rated power says what is plausible."""
    swapped_s, gone = 455, (600, 700)
    said = [
        (second, second / 10 + (60 if second < swapped_s else 50_000))
        for second in range(-600, 3000, STEP_S)
        if not gone[0] < second < gone[1]
    ]
    await world.write(
        reading_of(world.ids["tool-counter"], BEGIN + timedelta(seconds=second), {"pieces_count": pieces})
        for second, pieces in said
    )
    await world.compute()
    assert (await world.rows())["tool", BEGIN]["pieces"] > 40_000
    await write_down(world, "tool-counter", EventKind.SWAP, BEGIN + timedelta(seconds=swapped_s))
    row = (await world.rows())["tool", BEGIN]
    assert row["pieces"] == pytest.approx(89.0)
    assert row["pieces_coverage"] == pytest.approx(890 / 900)
    await write_down(
        world,
        "tool-counter",
        EventKind.HOLD_OUT,
        BEGIN + timedelta(seconds=590),
        until_us=instant_us(BEGIN + timedelta(seconds=710)),
    )
    held_out = (await world.rows())["tool", BEGIN]
    assert held_out["pieces_coverage"] == pytest.approx((890 - 130) / 900), (
        "a gap of 130 s is longer than may be joined"
    )


async def test_what_is_computed_anew_reaches_inputs_of_key_figures_of_meters_without_energy_too(world: World) -> None:
    await world.write(world.chiller(-600, 3000))
    await world.compute()
    before = await world.rows()
    # Now a value is believed for 8 s only, and one comes every 10 s.
    meters = tuple(
        each.model_copy(update={"max_gap_s": 8.0}) if each.key == "flow" else each for each in world.loaded.plant.meters
    )
    loaded = LoadedPlant(
        world.loaded.plant.model_copy(update={"meters": meters}), world.loaded.profiles, world.loaded.path
    )
    keeper = KpiInputs(world.pool, loaded, world.ids, now=lambda: world.now)
    await keeper.run_until_clean()
    assert await world.rows() == before
    zone = loaded.plant.site.zone
    accounting = Accounting(world.pool, accounts_of(loaded, world.ids), zone, now=lambda: world.now)
    request = await ask(
        world.pool, accounting, [world.ids["flow"]], BEGIN + QUARTER, BEGIN + 2 * QUARTER, requested_by="a test"
    )
    assert await follow(world.pool, accounting, request, stop=asyncio.Event(), seen_within_s=0.0) == 0
    await keeper.run_until_clean()
    after = await world.rows()
    assert before["chiller", BEGIN + QUARTER]["cooling_kwh_coverage"] == 1
    assert after["chiller", BEGIN + QUARTER]["cooling_kwh"] is None
    assert after["chiller", BEGIN - QUARTER] == before["chiller", BEGIN - QUARTER], "what was not asked for stays"
