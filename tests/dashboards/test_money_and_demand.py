"""The dashboards Demand and Tariff cost show what the API computes."""

from __future__ import annotations

import asyncpg
import pytest

from emsd.energy.local_windows import LocalWindow
from emsd.energy.windows import local_day_bounds
from emsd.readings import instant_us
from emsd.store.cost import read_costs
from emsd.store.demand import read_demand_blocks, read_demand_sliding
from emsd.store.plant_view import read_plant_view
from emsd.store.pool import open_pool
from emsd.store.scopes import meters_of_scope
from tests.dashboards.conftest import BEGIN, END, FilledDatabase
from tests.dashboards.test_queries import BOARDS, choose, fetch, value_of


async def test_cost_and_demand_are_those_of_the_api(filled: FilledDatabase, reader: asyncpg.Connection) -> None:
    midnight = local_day_bounds(END.astimezone(filled.loaded.plant.site.zone).date(), filled.loaded.plant.site.zone)[0]
    async with open_pool(filled.url) as pool:
        plant = await read_plant_view(pool, 1)
        top = meters_of_scope(plant, "site", None)
        async with pool.acquire() as connection:
            windows = [
                LocalWindow(begin, END, from_begin=True, complete=True)
                for begin in (midnight, BEGIN)  # the month is not older than the history
            ]
            (today,) = await read_costs(connection, plant, top, "grid_import", windows[:1])
            (month,) = await read_costs(connection, plant, top, "grid_import", windows[1:])
            blocks = await read_demand_blocks(connection, top.top, instant_us(midnight), instant_us(END), period_min=15)
            sliding = await read_demand_sliding(connection, top.top, instant_us(BEGIN), instant_us(END), period_min=15)
    assert today.cost.cost == pytest.approx(await value_of(reader, "emsd-tariff", "Cost today"))
    assert month.cost.cost == pytest.approx(await value_of(reader, "emsd-tariff", "Cost this month"))
    assert await value_of(reader, "emsd-tariff", "Energy with a price") == pytest.approx(100)
    highest = blocks.highest(instant_us(midnight), instant_us(END))
    anywhere = sliding.highest(instant_us(BEGIN), instant_us(END))
    assert highest is not None
    assert anywhere is not None
    assert await value_of(reader, "emsd-demand", "Highest today") == pytest.approx(highest.demand_kw)
    assert await value_of(reader, "emsd-demand", "Highest sliding window") == pytest.approx(anywhere.demand_kw)
    assert await value_of(reader, "emsd-demand", "Contract demand") == 4500
    # END is the end of a quarter hour: what it has drawn is all of its demand.
    assert await value_of(reader, "emsd-demand", "Demand") == pytest.approx(float(blocks.demand_kw[-1]), rel=1e-5)
    assert await value_of(reader, "emsd-demand", "Time to spare") == 15


async def test_prices_of_the_day_are_those_of_the_contract(reader: asyncpg.Connection) -> None:
    board = BOARDS["emsd-tariff"]
    rows = await fetch(reader, board, board.panel("Prices of the day"), await choose(reader, board))
    assert [(row["From"], row["To"], row["Period"]) for row in rows] == [
        ("00:00", "07:00", "valley"),
        ("07:00", "10:00", "flat"),
        ("10:00", "12:00", "peak"),
        ("12:00", "15:00", "flat"),
        ("15:00", "21:00", "peak"),
        ("21:00", "23:00", "flat"),
        ("23:00", "07:00", "valley"),
    ]
