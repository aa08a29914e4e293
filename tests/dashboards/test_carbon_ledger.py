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


async def test_every_panel_goes_by_the_factors_of_the_hour_where_there_are_some(owner: asyncpg.Connection) -> None:
    """Twice the factor of the period in every hour: twice the emissions, in days, hours, areas and in all."""
    board = BOARDS["emsd-carbon"]

    async def shown() -> list[float]:
        choices = await choose(owner, board)
        days = await fetch(owner, board, board.panel("CO2 per day"), choices)
        hours = await fetch(owner, board, board.panel("CO2 per hour"), choices)
        areas = await fetch(owner, board, board.panel("CO2 by area"), choices)
        return [
            sum(row["Emitted"] for row in days if row["Emitted"] is not None),
            sum(row["Emitted"] for row in hours if row["Emitted"] is not None),
            await value_of(owner, "emsd-carbon", "CO2"),
            max(row["CO2"] for row in areas),
        ]

    before = await shown()
    transaction = owner.transaction()
    await transaction.start()
    try:
        await owner.execute(
            "INSERT INTO carbon_factor_import (region, method, version, file_name, file_sha256, author)"
            " SELECT carbon_region, 'location', 1, 'a.csv', 'a', 'l.wei' FROM site"
        )
        await owner.execute(
            "INSERT INTO carbon_factor_hour (import_id, begins_at, ends_at, kg_per_kwh, source)"
            " SELECT import_id, hour, hour + interval '1 hour', 2 * 0.5306, 'grid operator' FROM carbon_factor_import,"
            " generate_series($1::timestamptz - interval '1 day', $2::timestamptz, '1 hour') AS hour",
            BEGIN, END,
        )  # fmt: skip
        assert await shown() == pytest.approx([2 * each for each in before], rel=1e-6)
        await owner.execute(
            "INSERT INTO carbon_factor_withdrawal (import_id, author, note)"
            " SELECT import_id, 'l.wei', 'of another region' FROM carbon_factor_import"
        )
        assert await shown() == pytest.approx(before, rel=1e-6)
    finally:
        await transaction.rollback()
