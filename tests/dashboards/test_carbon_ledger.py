"""The carbon ledger's dashboard shows what really flowed and what was entered."""

from __future__ import annotations

import asyncpg
import pytest

from emsd.readings import instant_us
from tests.dashboards.conftest import BEGIN, END, FilledDatabase
from tests.dashboards.test_queries import BOARDS, choose, fetch, value_of

BOARD = "emsd-carbon-ledger"


async def test_the_figures_are_those_of_the_ledger(filled: FilledDatabase, reader: asyncpg.Connection) -> None:
    taken = filled.physics.true_energy_kwh("incomer", instant_us(BEGIN), instant_us(END)).import_kwh
    assert await value_of(reader, BOARD, "Scope 2, location-based") == pytest.approx(taken * 0.5306, rel=0.002)
    # 365 MWh for the year: a megawatt-hour for each of the days that are over; 365 kg of NF3 likewise.
    days_over = (END.timestamp() - 1767196800) / 86400
    gas_kg = days_over * 0.9 * 0.03 * 0.05 * 16_100
    assert await value_of(reader, BOARD, "Scope 1") == pytest.approx(gas_kg, rel=1e-6)
    assert await value_of(reader, BOARD, "Certificates left") == 135
    assert await value_of(reader, BOARD, "Coverage") < 1, "a day of half a year"


async def test_the_statement_shows_what_was_signed(reader: asyncpg.Connection) -> None:
    board = BOARDS[BOARD]
    (row,) = await fetch(reader, board, board.panel("Statements"), await choose(reader, board))
    assert float(row["Scope 1"]) == pytest.approx(0.9 * 0.03 * 0.05 * 16_100, rel=1e-6)  # a kilogram of NF3
    assert len(row["SHA-256"]) == 64
