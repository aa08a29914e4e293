from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from emsd.cli.check import check
from emsd.cli.schema import schema
from emsd.errors import Fault

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
        "compressors = compressor-1-feeder + compressor-2-feeder, unknown while one is missing, not in sums",
        "room_pressure_pa below 15 Pa for 5 s",
        "residual_percent outside its band for 1800 s",
        "0.5306",
        "│ substation        │ 10 ms (assumed) │      3 │",
        "9 areas, 14 assets, 25 meters (13 of energy, 1 virtual beside them) on 8 connections, 11.2 polls/s, 8 alarms",
        "0 warnings",
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


HEAD = """\
site: {name: Works, time_zone: Europe/Berlin, carbon_region: DE}
areas: [{key: hall, name: Hall}]
assets: [{key: line, name: Line, kind: feeder, area: hall, rated_power_kw: 100}]
carbon_factors: [{region: DE, valid_from: 2020-01-01, kg_per_kwh: 0.4, source: a test}]
profile_folders: [profiles]
"""

PROFILE = """\
profile: two_reads
kind: generic
manufacturer: Acme
model: Two reads of 60 registers
source: [a test]
modbus:
  max_registers: 60
  max_gap_registers: 60
  response_time_s: 0.04
  points:
    - {quantity: voltage_l1_n_v, address: 0, type: f32}
    - {quantity: voltage_l2_n_v, address: 58, type: f32}
    - {quantity: voltage_l3_n_v, address: 100, type: f32}
    - {quantity: frequency_hz, address: 158, type: f32}
"""


PROFILES = {
    "two_reads": PROFILE,
    "slow": PROFILE.replace("two_reads", "slow").replace("response_time_s: 0.04", "response_time_s: 1.99"),
    "lazy": PROFILE.replace("two_reads", "lazy").replace("response_time_s: 0.04", "refresh_s: 15"),
}


def serial(key: str) -> str:
    return f"key: {key}, kind: modbus_rtu, device: /dev/{key}, baud_rate: 9600"


def meters(connection: str, count: int, interval_s: float = 1, profile: str = "two_reads") -> list[str]:
    return [
        f"key: {connection}{at}, connection: {connection}, unit_id: {at}, profile: {profile}, "
        f"poll_interval_s: {interval_s}"
        for at in range(1, count + 1)
    ]


def plant_of(folder: Path, connections: list[str], meters: list[str]) -> Path:
    """Write a plant of these entries, and the profiles."""
    (folder / "profiles").mkdir()
    for name, profile in PROFILES.items():
        (folder / "profiles" / f"{name}.yaml").write_text(profile)
    lines = [HEAD + "connections:", *(f"  - {{{each}}}" for each in connections), "meters:"]
    path = folder / "plant.yaml"
    path.write_text("\n".join([*lines, *(f"  - {{name: M, asset: line, {each}}}" for each in meters)]) + "\n")
    return path


def checked(path: Path, *options: str) -> tuple[dict[str, Any], list[str]]:
    """Return the document of `emsd check --json`, and its warnings as a person reads them."""
    result = CliRunner().invoke(app, ["check", str(path), "--json", *options])
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    document = json.loads(result.stdout)
    return document, [str(Fault(**warning)).replace(f"{path.parent}/", "") for warning in document["warnings"]]


NETWORKS = ("mixed", "hasty", "guess")


@pytest.fixture(scope="module")
def busy_plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plant with a connection in every trouble, and one in none."""
    return plant_of(
        tmp_path_factory.mktemp("busy"),
        [*map(serial, ("calm", "full", "over")), *(f"key: {key}, host: {key}.example" for key in NETWORKS)],
        [
            *meters("calm", 2),
            *meters("full", 9, 4),
            *meters("over", 5),
            *meters("mixed", 1),
            *meters("mixed", 2, 10, "slow")[1:],
            *meters("hasty", 5, 1, "lazy"),
            *meters("guess", 6, 0.1, "lazy"),
        ],
    )


@pytest.fixture(scope="module")
def busy(busy_plant: Path) -> tuple[dict[str, Any], list[str]]:
    return checked(busy_plant)


def test_check_predicts_the_load_of_a_line_as_by_hand(busy: tuple[dict[str, Any], list[str]]) -> None:
    bus = busy[0]["modbus_connections"][0]
    # Two requests of 145.833 ms and 40 ms of the device each, for each meter.
    assert bus["cycle_s"] == pytest.approx(0.743333, abs=1e-6)
    assert bus["utilisation"] == pytest.approx(0.743333, abs=1e-6)
    assert (bus["way"], bus["way_is_assumed"], bus["requests_per_s"]) == ("9600 baud 8N1", False, 4.0)
    assert (bus["registers_wanted"], bus["registers_read"], bus["efficiency"]) == (16, 240, 0.066667)
    assert bus["delay_by_silent_s"] == pytest.approx(1.743333, abs=1e-6)
    assert [poll["meter"] for poll in bus["polls"]] == ["calm1", "calm2"]


def test_check_warns_of_what_cannot_be_met_or_is_wasted_each_with_its_cure(
    busy: tuple[dict[str, Any], list[str]],
) -> None:
    document, warnings = busy
    full, over, mixed, hasty, guess, _ = warnings
    assert full == (
        "plant.yaml:8: connections[1] full is busy 84% of its time: there is no room for retries and silent meters; "
        "set poll_interval_s of full1, full2, full3 and 6 more to 5, or set the line to 19200 baud, or spread its "
        "meters over 2 lines, each a connection of its own"
    )
    # 5 meters x 371.667 ms: each is served every 1.858 s.
    assert re.fullmatch(
        r"plant\.yaml:9: connections\[2\] over is asked for 186% of its time: up to 46% of the polls of over1, "
        r"over2, over3 and 2 more will be skipped \(13[89] a minute\); set poll_interval_s of over1, over2, over3 and "
        r"2 more to 5, or set the line to 38400 baud, or spread its meters over 3 lines, each a connection of its own",
        over,
    ), over
    assert document["modbus_connections"][2]["polls_skipped_per_s"] == pytest.approx(5 * 0.4619, abs=0.05)
    assert mixed == (
        "plant.yaml:10: connections[3] mixed spends 4.0 s on each poll of mixed2: up to 30% of the polls of mixed1 "
        "will be skipped (18 a minute); set poll_interval_s of mixed1 to 5, or give mixed2 a connection of its own"
    )
    assert document["modbus_connections"][3]["utilisation"] == pytest.approx(0.1 + 0.4)
    assert hasty == (
        "plant.yaml:11: connections[4] hasty polls hasty1, hasty2, hasty3 and 2 more faster than a lazy renews its "
        "values, every 15 s; set their poll_interval_s to 15 or more"
    )
    # 6 meters x 2 requests x 10 ms in 0.1 s.
    assert "guess is asked for 120% of its time, if a request takes 10 ms, as is assumed: up to 17% of the" in guess
    assert "; measure the round trip and check again with --round-trip-ms, or set poll_interval_s of guess1, " in guess


def test_check_shows_the_load_as_a_table_and_its_warnings_on_standard_error(
    busy_plant: Path, busy: tuple[dict[str, Any], list[str]]
) -> None:
    result = CliRunner().invoke(app, ["check", str(busy_plant)])
    assert result.exit_code == 0
    assert result.stderr.replace(f"{busy_plant.parent}/", "") == "".join(f"warning: {each}\n" for each in busy[1])
    row = r"│ over +│ 9600 baud 8N1 +│ +5 │ +10\.0 │ 10 requests │ +600 │ +7% │ +1\.9 s │ 186% │ +2\.9 s │"
    assert re.search(row, result.stdout)
    assert result.stdout.rstrip().endswith("6 warnings")


def test_check_plans_with_the_holes_that_are_worth_reading_through_on_each_medium(tmp_path: Path) -> None:
    path = plant_of(
        tmp_path,
        [serial("line"), "key: tcp, host: 127.0.0.1"],
        [*meters("line", 1, 1, "holes"), *meters("tcp", 1, 1, "holes")],
    )
    # A hole of 18 registers: on a line of 9600 baud a further request takes as long as 19.
    points = "{quantity: frequency_hz, address: 0, type: f32}, {quantity: voltage_l1_n_v, address: 20, type: f32}"
    holes = f"{PROFILE[: PROFILE.index('modbus:')].replace('two_reads', 'holes')}modbus: {{points: [{points}]}}\n"
    (tmp_path / "profiles" / "holes.yaml").write_text(holes)
    document, _ = checked(path)
    assert [bus["requests_per_cycle"] for bus in document["modbus_connections"]] == [1, 2]
    assert [bus["registers_read"] for bus in document["modbus_connections"]] == [22, 4]


@pytest.mark.parametrize(("was", "is_now"), [("poll_interval_s: 1}", "poll_interval_s: 5}"), ("9600", "38400")])
def test_the_cures_that_check_names_work(tmp_path: Path, was: str, is_now: str) -> None:
    path = plant_of(tmp_path, [serial("over")], meters("over", 5))
    assert was in path.read_text()
    path.write_text(path.read_text().replace(was, is_now))
    assert checked(path)[1] == []


@pytest.mark.parametrize(
    ("options", "way", "cycle_s"),
    [
        ([], "10 ms (assumed)", 4 * 0.05),
        (["--round-trip-ms", "35"], "35 ms", 4 * 0.075),
        # 140 characters of 11 bits at 9600 baud behind the network's 5 ms.
        (["--gateway-baud", "9600", "--round-trip-ms", "5"], "5 ms, 9600 baud 8E1", 4 * (0.005 + 0.160417 + 0.04)),
    ],
)
def test_check_takes_what_a_person_knows_of_a_gateway(
    tmp_path: Path, options: list[str], way: str, cycle_s: float
) -> None:
    document, _ = checked(plant_of(tmp_path, ["key: tcp, host: 127.0.0.1"], meters("tcp", 2)), *options)
    [bus] = document["modbus_connections"]
    assert (bus["way"], bus["cycle_s"]) == (way, pytest.approx(cycle_s, abs=1e-5))


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_check_refuses_a_profile_that_cannot_be_read(tmp_path: Path, options: list[str]) -> None:
    path = plant_of(tmp_path, ["key: tcp, host: 127.0.0.1"], meters("tcp", 2))
    barred = PROFILE.replace("  points:", "  forbidden: [{first: 158, last: 158}]\n  points:")
    (tmp_path / "profiles" / "two_reads.yaml").write_text(barred)
    result = CliRunner().invoke(app, ["check", str(path), *options])
    assert result.exit_code == 2
    words = "cannot be read over Modbus: frequency_hz is read with registers 158..159, of which 158..158 are forbidden"
    if options:
        document = json.loads(result.stdout)
        assert document["valid"] is False
        assert [words in fault["problem"] for fault in document["faults"]] == [True, True]
    else:
        assert [words in line for line in result.stderr.splitlines()] == [True, True]
        assert "meter tcp1 with profile two_reads" in result.stderr


@pytest.mark.parametrize(
    ("which", "title"), [("plant", "Description of a plant for emsd"), ("profile", "Device profile for emsd")]
)
def test_schema_prints_json(which: str, title: str) -> None:
    result = CliRunner().invoke(app, ["schema", which])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["title"] == title
