from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from emsd.cli.check import check
from emsd.cli.schema import schema

ROOT = Path(__file__).parents[2]

app = typer.Typer()
app.command()(check)
app.command()(schema)


def test_check_prints_the_plant_as_a_tree_and_leaves_with_0() -> None:
    result = CliRunner().invoke(app, ["check", str(ROOT / "config" / "plant.example.yaml")])
    assert result.exit_code == 0, result.output
    for words in (
        "Display line site 1, Asia/Shanghai, carbon region CN, contract demand 4,500 kW",
        "│   │   │   ├── cleanroom-feeder schneider_pm5560 on substation (127.0.0.1:15020) unit 2, every 1 s",
        "json_energy_meter on broker (127.0.0.1:11883) topic emsd/cleanroom/exhaust, expected every 5 s",
        "room_pressure_pa below 15 Pa for 5 s",
        "0.5306",
        "9 areas, 14 assets, 21 meters (13 of energy) on 8 connections, 10.8 polls/s, 5 alarms, 0 warnings",
    ):
        assert words in result.stdout
    assert result.stderr == ""


def test_check_says_every_fault_on_a_line_of_standard_error_and_leaves_with_2(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = ROOT / "tests" / "plant" / "cases" / "profile_faults"
    monkeypatch.setenv("EMSD_TEST_SECRET", "hunter2")
    result = CliRunner().invoke(app, ["check", str(case / "plant.yaml")])
    expected = (case / "expected.txt").read_text()
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.replace(f"{case}/", "").replace(str(case), ".") == expected


def test_check_prints_warnings_on_standard_error(tmp_path: Path) -> None:
    text = (ROOT / "config" / "plant.example.yaml").read_text().replace("carbon_region: CN", "carbon_region: DE")
    (tmp_path / "plant.yaml").write_text(text)
    (tmp_path / "meters.example.csv").write_text((ROOT / "config" / "meters.example.csv").read_text())
    result = CliRunner().invoke(app, ["check", str(tmp_path / "plant.yaml")])
    assert result.exit_code == 0
    assert result.stderr == (
        f'warning: {tmp_path}/plant.yaml:13: site.carbon_region "DE" has no carbon factor; '
        "emissions will be missing; add one under carbon_factors\n"
    )


@pytest.mark.parametrize(
    ("which", "title"), [("plant", "Description of a plant for emsd"), ("profile", "Device profile for emsd")]
)
def test_schema_prints_json(which: str, title: str) -> None:
    result = CliRunner().invoke(app, ["schema", which])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["title"] == title
