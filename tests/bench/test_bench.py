"""Every benchmark runs, in a very small size, and prints and writes its rows; how fast anything is, is not asserted."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.conftest import memory_or_disk

REPOSITORY = Path(__file__).parents[2]
RATIOS = {"ingest": 3, "spool": 2, "collector": 1, "decode": 1, "api": 20, "storage": 2}
"""How many rows of each benchmark are compared with a bare library."""


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(memory_or_disk())},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def rows_of(name: str, file: Path) -> list[dict[str, Any]]:
    done = bench(name, "--smoke", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    rows: list[dict[str, Any]] = json.loads(file.read_text())["rows"]
    assert {row["benchmark"] for row in rows} == {name}
    table = "".join(character for character in done.stdout if character.isascii())
    for row in rows:
        # A long name is broken over lines.
        assert row["measure"].split()[0] in table
    return rows


@pytest.mark.parametrize("name", RATIOS)
def test_a_benchmark_compares_itself_with_the_bare_library_in_the_same_run(name: str, tmp_path: Path) -> None:
    rows = rows_of(name, tmp_path / "figures.json")
    assert len(rows) == RATIOS[name]
    for row in rows:
        for side in ("emsd", "bare", "ratio"):
            figures = row[side]
            assert 0 < figures["least"] <= figures["median"] <= figures["most"] < math.inf, row


def test_the_fleet_runs_through_the_real_service_and_every_tick_is_accounted_for(tmp_path: Path) -> None:
    rows = {row["measure"]: row["emsd"]["median"] for row in rows_of("fleet", tmp_path / "figures.json")}
    expected = next(value for measure, value in rows.items() if measure.startswith("ticks expected"))
    assert expected > 0
    assert rows["ticks answered in full"] + rows["ticks partial, failed or skipped"] == expected
    assert rows["rows in the database"] > 0
    assert rows["processor time of the service"] > 0
    assert rows["memory of the service"] > 10


def test_units_behind_a_gateway_with_dead_ones_are_compared_with_one_where_all_answer(tmp_path: Path) -> None:
    rows = rows_of("gateway", tmp_path / "figures.json")
    assert len(rows) == 4
    for row in rows:
        assert 0 < row["bare"]["median"] < 2, row
        assert row["emsd"]["most"] <= row["bare"]["most"] + 1, row
        assert row["ratio"] is not None
    assert any(row["met"] is not None for row in rows)


def test_what_a_fleet_did_over_time_is_drawn(tmp_path: Path) -> None:
    plot = tmp_path / "memory.svg"
    done = bench("fleet", "--smoke", "--shards", "2", "--plot", str(plot))
    assert done.returncode == 0, done.stdout + done.stderr
    picture = ET.parse(plot).getroot()  # noqa: S314 - it is ours
    lines = picture.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 3
    assert all(len(line.attrib["points"].split()) >= 1 for line in lines)


@pytest.mark.parametrize(("name", "count"), [("history", 3), ("serving", 3)])
def test_the_simulator_is_measured_too(name: str, count: int, tmp_path: Path) -> None:
    rows = rows_of(name, tmp_path / "figures.json")
    assert len(rows) == count
    assert all(row["emsd"]["median"] > 0 for row in rows)


def test_messages_go_all_the_way_and_are_compared_with_bare_aiomqtt(tmp_path: Path) -> None:
    whole, *steady = rows_of("mqtt", tmp_path / "figures.json")
    assert all(0 < whole[side]["median"] < math.inf for side in ("emsd", "bare", "ratio"))
    assert [row["unit"] for row in steady] == ["messages/s", "s", "s"]
    assert all(0 < row["emsd"]["median"] < math.inf for row in steady)


def test_accounting_is_compared_with_plain_sql_over_the_same_rows(tmp_path: Path) -> None:
    rows = rows_of("accounting", tmp_path / "figures.json")
    assert sum(row["ratio"] is not None for row in rows) == 3
    assert sum(row["met"] is not None for row in rows) == 3
    assert all(0 < row["emsd"]["median"] < math.inf for row in rows)


def test_sums_of_long_times_are_compared_with_plain_sql_of_the_same_sums(tmp_path: Path) -> None:
    rows = rows_of("sums", tmp_path / "figures.json")
    assert len(rows) == 6
    assert all(0 < row["emsd"]["median"] < math.inf for row in rows)
    assert [row["ratio"] is not None and 0 < row["ratio"]["median"] < math.inf for row in rows] == [True] * 4 + [
        False
    ] * 2
    assert rows[0]["met"] is not None


def test_an_unknown_name_is_refused_with_the_names_that_there_are() -> None:
    done = bench("injest")
    assert done.returncode == 2
    assert "there is no benchmark injest" in done.stderr
    assert "ingest, spool, collector, mqtt, decode, api, storage, gateway, fleet" in " ".join(
        done.stderr.replace("│", " ").split()
    )
