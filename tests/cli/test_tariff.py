"""`emsd tariff`: a calendar that a person checks at a glance, and a month's bill."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from typer.testing import CliRunner, Result

from emsd.cli import app
from emsd.plant.loader import load_plant
from emsd.store.plant import sync_plant
from emsd.store.pool import open_pool
from tests.conftest import wait_for

EXAMPLE = Path(__file__).parents[2] / "config" / "plant.example.yaml"

BERLIN = """\
site: {name: S, time_zone: Europe/Berlin, carbon_region: DE}
tariffs:
  - key: two
    name: Two periods
    valid_from: 2026-01-01
    currency: EUR
    rates:
      - periods:
          - {name: night, hours: ["22:00-03:00"], price_per_kwh: 0.1}
          - {name: day, hours: ["03:00-22:00"], price_per_kwh: 0.3}
areas: [{key: hall, name: Hall}]
assets: [{key: supply, name: Supply, kind: incomer, area: hall, rated_power_kw: 1000}]
connections: [{key: gateway, kind: modbus_tcp, host: 10.0.0.5}]
"""


def emsd(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_a_year_is_a_calendar_with_a_letter_for_each_kind_of_day() -> None:
    answer = emsd("tariff", "show", str(EXAMPLE), "--year", "2026")
    assert answer.exit_code == 0, answer.stderr
    lines = answer.stdout.splitlines()
    october = next(line for line in lines if line.startswith("Oct")).split()
    # The week of the national day, and the make-up Saturday that is like any other.
    assert october[1:8] == [october[1]] * 7
    assert october[8] == october[10] != october[1]
    assert any("industrial-2026, winter, ordinary: " in line for line in lines)
    assert any("00:00 valley 0.2978" in line and "19:00 sharp 1.1667" in line for line in lines)


def test_a_day_of_25_hours_shows_the_hour_that_comes_twice(tmp_path: Path) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(BERLIN)
    answer = emsd("tariff", "show", str(path), "--day", "2026-10-25")
    assert answer.exit_code == 0, answer.stderr
    assert "2026-10-25 Sunday, 25 h, Europe/Berlin" in answer.stdout
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in answer.stdout.splitlines() if "│" in line]
    assert rows == [
        ["00:00 +0200", "03:00 +0100", "4", "night", "0.1"],
        ["03:00 +0100", "22:00 +0100", "19", "day", "0.3"],
        ["22:00 +0100", "00:00 +0100", "2", "night", "0.1"],
    ]
    assert answer.stdout.count("█") == 100


def test_a_plant_without_a_tariff_and_a_month_that_is_none_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(BERLIN.partition("tariffs:")[0] + "areas:" + BERLIN.partition("areas:")[2])
    answer = emsd("tariff", "show", str(path))
    assert (answer.exit_code, "describes no tariff" in answer.stderr) == (2, True)
    answer = emsd("tariff", "cost", "--month", "October", "--database-url", "postgresql://127.0.0.1:1/x")
    assert (answer.exit_code, "is not a month such as 2026-10" in answer.stderr) == (2, True)


async def fill(database_url: str) -> None:
    """The example plant, and 500 kWh in every quarter hour of March."""
    loaded = load_plant(EXAMPLE, environ={})
    async with open_pool(database_url) as pool:
        ids = await sync_plant(pool, loaded.plant, loaded.profiles)
        await pool.execute(
            "INSERT INTO interval_15m (bucket, meter_id, energy_import_kwh, coverage, sample_count)"
            " SELECT bucket, $1, 500, 1, 900 FROM generate_series($2::timestamptz,"
            " $3::timestamptz - interval '15 minutes', '15 minutes') AS bucket",
            ids["incomer"],
            datetime(2026, 2, 28, 16, tzinfo=UTC),
            datetime(2026, 3, 31, 16, tzinfo=UTC),
        )


def test_a_month_s_bill_is_printed_as_far_as_it_is_known(database_url: str) -> None:
    wait_for(fill(database_url))
    answer = emsd("tariff", "cost", "--month", "2026-03", "--database-url", database_url)
    assert answer.exit_code == 0, answer.stderr
    assert "Display line, March 2026" in answer.stdout
    # 8 h of peak a day, 31 days, 2000 kWh an hour.
    assert "496,000.0" in answer.stdout
    assert "488,361.60" in answer.stdout
    assert "2,000.0 kW" in answer.stdout
    assert "67,600.00" in answer.stdout
    assert "coverage 100.0%" in answer.stdout
    assert "unknown" in answer.stdout  # no reactive energy, so no power factor and no total
    answer = emsd("tariff", "cost", "--month", "2026-04", "--database-url", database_url)
    assert answer.exit_code == 0, answer.stderr
    assert "coverage 0.0%" in answer.stdout
    assert "0.00" not in answer.stdout
