"""`emsd export` as a person uses it."""

from __future__ import annotations

import asyncio
import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pyarrow.parquet
import pytest
from typer.testing import CliRunner, Result

from emsd.cli import app
from tests.api.conftest import insert_plant

BEGIN = datetime(2026, 3, 28, 23, tzinfo=UTC)
"""Midnight of 29 March in Berlin, the site's zone."""


@pytest.fixture
def works(database_url: str) -> str:
    async def fill() -> None:
        connection = await asyncpg.connect(database_url)
        await insert_plant(connection)
        for hour in range(-1, 24):
            for meter_id in (1_000_001, 1_000_003):
                await connection.execute(
                    "INSERT INTO reading (time, meter_id, active_power_kw) VALUES ($1, $2, $3)",
                    BEGIN + timedelta(hours=hour),
                    meter_id,
                    hour + 0.1,
                )
                await connection.execute(
                    "INSERT INTO interval_15m (bucket, meter_id, energy_import_kwh, coverage, sample_count)"
                    " VALUES ($1, $2, $3, 1, 900)",
                    BEGIN + timedelta(hours=hour),
                    meter_id,
                    hour,
                )
        await connection.close()

    asyncio.run(fill())
    return database_url


def export(database_url: str, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments), "--database-url", database_url])


def test_a_local_day_of_readings_and_intervals_becomes_a_file(works: str, tmp_path: Path) -> None:
    file = tmp_path / "day.parquet"
    day = ("--from", "2026-03-29", "--to", "2026-03-30")  # 23 hours
    done = export(works, "readings", *day, "--quantity", "active_power_kw", "--meter", "tool-1", "-o", file)
    assert done.exit_code == 0, done.output
    assert f"wrote 23 rows, 0.0 MB, to {file}" in done.stderr
    table = pyarrow.parquet.read_table(file)
    assert set(table.column("meter").to_pylist()) == {"tool-1"}
    times = table.column("time").to_pylist()
    assert (times[0], times[-1]) == (BEGIN, BEGIN + timedelta(hours=22))

    done = export(works, "intervals", *day, "-o", "-")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 2 * 23
    assert (rows[0]["time"], rows[0]["meter"], rows[0]["energy_import_kwh"]) == (
        "2026-03-28T23:00:00+00:00", "incomer", "0.0",
    )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["day.parquet"]

    done = export(works, "events", "--from", "2026-03-29T00:00+01:00", "-o", tmp_path / "events.csv")
    assert done.exit_code == 0, done.output
    assert (
        tmp_path / "events.csv"
    ).read_text() == "time,meter,event_id,supersedes,kind,detail,author,note,recorded_at\n"


def test_what_is_wrong_is_said_with_its_cure_and_nothing_is_left(works: str, tmp_path: Path) -> None:
    file = tmp_path / "file.csv"
    power = ("--quantity", "active_power_kw", "--from", "2026-03-29")
    for arguments, said in (
        (("readings", "--from", "2026-03-29", "--quantity", "active_power"), "did you mean active_power_kw"),
        (("readings", *power, "--meter", "tool-9"), "did you mean tool-"),
        (("readings", *power, "--to", "2026-03-28"), "let it begin before it ends"),
        (("readings", "--quantity", "active_power_kw", "--from", "yesterday"), "--from yesterday is no time"),
        (("intervals", "--from", "2026-03-29", "--format", "xlsx"), "there are csv, parquet, arrow"),
        (("intervals", "--from", "2026-03-29", "--site", "7"), "knows no site 7"),
    ):
        done = export(works, *arguments, "-o", file)
        assert done.exit_code in {1, 2}, arguments
        assert said in done.stderr.replace("\n", " "), arguments
        assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_replaced_only_when_told_so(works: str, tmp_path: Path) -> None:
    file = tmp_path / "file.csv"
    file.write_text("precious")
    arguments = ("intervals", "--from", "2026-03-29", "--to", "2026-03-30", "-o", file)
    refused = export(works, *arguments)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert file.read_text() == "precious"
    assert export(works, *arguments, "--force").exit_code == 0
    assert file.read_text().startswith("time,meter,energy_import_kwh")


def test_a_folder_that_does_not_exist_is_named(works: str, tmp_path: Path) -> None:
    done = export(works, "intervals", "--from", "2026-03-29", "-o", tmp_path / "nowhere" / "file.csv")
    assert done.exit_code == 1
    assert "cannot be written (No such file or directory)" in done.stderr
