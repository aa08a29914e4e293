"""The energy balance of the simulator's plant: what is left over is the load that no meter sees, and resolution."""

from __future__ import annotations

import asyncpg
import pytest

from emsd.energy.balance import balance, joined_total, total
from emsd.readings import instant_us
from emsd.store.balance import portions, read_balance_energy, stretches
from emsd.store.plant_view import read_plant_view
from emsd.store.pool import open_pool
from tests.dashboards.conftest import BEGIN, END, FilledDatabase
from tests.dashboards.test_queries import BOARDS, choose, fetch, value_of


def unmetered_kwh(filled: FilledDatabase, bus: str, children: list[str]) -> float:
    """What really flowed through a bus and through none of its children."""

    def net(key: str) -> float:
        true = filled.physics.true_energy_kwh(key, instant_us(BEGIN), instant_us(END))
        return true.import_kwh - true.export_kwh

    return net(bus) - sum(map(net, children))


async def test_residuals_are_the_unmetered_load_and_else_only_resolution(filled: FilledDatabase) -> None:
    async with open_pool(filled.url) as pool:
        view = await read_plant_view(pool, filled.loaded.plant.site.number)
        buckets = stretches(BEGIN, END, view.zone)
        window_us = instant_us(END) - instant_us(BEGIN)
        async with pool.acquire() as connection:
            # Few buckets at a time, as of a plant of thousands of meters.
            energies = [
                await read_balance_energy(connection, view.energy_meter_ids, part) for part in portions(buckets, 10_000)
            ]
    assert len(energies) > 1
    found = {}
    for bus, children in view.buses.items():
        parts = [
            balance(energy.by_meter[bus], {each.key: energy.by_meter[each.meter_id] for each in children})
            for energy in energies
        ]
        whole = joined_total(
            [total(part, energy.widths_us, window_us) for part, energy in zip(parts, energies, strict=True)]
        )
        key, by_key = view.meters[bus].key, [each.key for each in children]
        assert whole.balanced_share == pytest.approx(1)
        assert whole.residual_kwh is not None
        assert whole.supply_kwh is not None
        true = unmetered_kwh(filled, key, by_key)
        assert whole.residual_kwh == pytest.approx(true, abs=0.001 * whole.supply_kwh), key
        found[key] = true / whole.supply_kwh
    assert found["incomer"] > 0.01
    assert found["cleanroom-feeder"] == pytest.approx(0, abs=1e-9)


async def test_the_board_shows_the_residual_of_every_bus_in_its_tree(
    filled: FilledDatabase, reader: asyncpg.Connection
) -> None:
    board = BOARDS["emsd-balance"]
    rows = await fetch(reader, board, board.panel("Buses"), await choose(reader, board))
    assert [row["Bus"].strip("\u2003") for row in rows] == ["20 kV incomer", "Cleanroom feeder"]
    assert [row["Bus"].startswith("\u2003") for row in rows] == [False, True]
    incomer, cleanroom = rows
    below = [
        meter.key
        for meter in filled.loaded.plant.meters
        if meter.parent == "incomer" and filled.loaded.measures_energy(meter)
    ]
    true = unmetered_kwh(filled, "incomer", below)
    assert incomer["Residual"] == pytest.approx(true, rel=0.03)
    assert incomer["Measured"] - incomer["Below"] == pytest.approx(incomer["Residual"])
    assert incomer["Usual"] == "0 to 10 %"
    assert 0 < incomer["Share"] < 10, "the example plant's band holds its own residual"
    assert abs(cleanroom["Share"]) < 0.5
    assert incomer["Not known all the time"] is None
    both = await value_of(reader, "emsd-balance", "Residual of all buses")
    assert both == pytest.approx(incomer["Residual"] + cleanroom["Residual"])
    assert await value_of(reader, "emsd-balance", "Largest deviation") < 2
