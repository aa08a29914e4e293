"""`emsd profiles`: what a commissioner is shown, and what the check of an own profile finds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from emsd.cli.profiles import app
from emsd.plant.profiles import ProfileLibrary, read_profiles

SHIPPED = Path(__file__).parents[2] / "collectors" / "profiles"

METER = """\
profile: acme
kind: power_meter
manufacturer: Acme
model: PM100
source: [a test]
unproven: [word order of the counters]
notes: [active power is negative while feeding back]
modbus:
  max_registers: 60
  align_registers: 2
  points:
    - {quantity: active_power_kw, address: 11, type: i32, scale: 0.001}
    - {quantity: energy_import_kwh, address: 20, type: u32, scale: 0.01, interval_s: 10}
"""


def profiles(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def as_json(*words: str | Path) -> Any:
    result = profiles(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def write(folder: Path, text: str, name: str = "acme.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def library() -> ProfileLibrary:
    return read_profiles()


def test_list_shows_every_shipped_profile(library: ProfileLibrary) -> None:
    result = profiles("list")
    assert (result.exit_code, result.stderr) == (0, "")
    shown = re.findall(r"^│ (\w+) ", result.stdout, re.MULTILINE)
    assert shown == sorted(library.profiles)
    assert f"{len(shown)} profiles" in result.stdout
    listed = as_json("list")
    assert [each["profile"] for each in listed] == shown
    [sdm630] = [each for each in listed if each["profile"] == "eastron_sdm630"]
    profile = library.profiles["eastron_sdm630"]
    assert sdm630["counters"] == [name for name in profile.quantities if "energy" in name]
    assert (sdm630["protocol"], sdm630["unproven"]) == ("modbus", len(profile.unproven))


def test_list_by_kind_shows_that_kind_alone() -> None:
    assert {each["kind"] for each in as_json("list", "--kind", "chiller")} == {"chiller"}


def test_list_of_an_unknown_kind_says_which_was_meant() -> None:
    result = profiles("list", "--kind", "chilller")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == 'there is no profile of kind chilller; did you mean "chiller"?\n'


def test_list_with_a_plant_shows_its_own_profiles_too(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    write(tmp_path / "own", METER)
    plant = write(tmp_path, "profile_folders: [own]\n", "plant.yaml")
    [own] = [each for each in as_json("list", "--plant", plant) if each["profile"] == "acme"]
    assert own["file"] == str(tmp_path / "own" / "acme.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "cannot be read"), ("profile_folders: [nowhere]\n", "nowhere is not a folder"), ("a: [\n", "plant.yaml:2")],
)
def test_a_plant_that_cannot_be_read_is_named(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "plant.yaml"
    if text is not None:
        path.write_text(text)
    result = profiles("list", "--plant", path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_show_tells_a_commissioner_everything_about_a_profile(tmp_path: Path) -> None:
    write(tmp_path, METER)
    plant = write(tmp_path, "profile_folders: [.]\n", "plant.yaml")
    plant.rename(tmp_path / "site.plant")
    result = profiles("show", "acme", "--plant", tmp_path / "site.plant")
    assert (result.exit_code, result.stderr) == (0, "")
    flat = " ".join(result.stdout.split())
    for words in (
        "acme Acme PM100",
        f"power_meter, modbus, {tmp_path / 'acme.yaml'}",
        "│ active_power_kw │ kW │ holding │ 11 │ i32 │ x 0.001 │ poll │",
        "│ energy_import_kwh │ kWh │ holding │ 20 │ u32 │ x 0.01 │ 10 s │ starts again at 42,949,672.96 │",
        "1 request, 12 registers, 33% wanted; 1 request a second",
        "│ holding │ 10..21 │ 12 │ active_power_kw, energy_import_kwh │",
        "max_registers: 60",
        "align_registers: 2",
        "- word order of the counters",
        "- active power is negative while feeding back",
        "- a test",
    ):
        assert words in flat, words


def test_show_as_json_holds_the_definition_and_the_blocks() -> None:
    shown = as_json("show", "schneider_pm5560")
    assert shown["definition"]["profile"] == "schneider_pm5560"
    assert shown["plan"]["requests"] == len(shown["plan"]["blocks"])
    assert shown["plan"]["registers_read"] == sum(block["registers"] for block in shown["plan"]["blocks"])
    told = {name for block in shown["plan"]["blocks"] for name in block["quantities"]}
    assert told == set(shown["quantities"])


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.yaml")))
def test_every_shipped_profile_can_be_shown_and_has_no_doubts(name: str, shipped_check: dict[str, Any]) -> None:
    [found] = [each for each in shipped_check["profiles"] if each["profile"] == name]
    assert found["quantities"]
    assert [fault for fault in shipped_check["warnings"] if Path(fault["file"]).stem == name] == []


@pytest.fixture(scope="module")
def shipped_check() -> Any:
    """What `emsd profiles check` says of the shipped profiles."""
    return as_json("check", SHIPPED)


@pytest.mark.parametrize("name", ["sunspec_inverter", "acrel_adl3000"])
def test_profiles_of_every_manner_can_be_shown(name: str, library: ProfileLibrary) -> None:
    result = profiles("show", name)
    assert (result.exit_code, result.stderr) == (0, "")
    profile = library.profiles[name]
    for words in (*profile.quantities, *profile.source[:1]):
        assert words in " ".join(result.stdout.split())


def test_show_of_an_mqtt_profile_tells_topic_and_paths() -> None:
    flat = " ".join(profiles("show", "json_climate_sensor").stdout.split())
    assert "Topic {topic}" in flat
    assert re.search(r"│ room_temperature_c │ degC │ \S+ │ x 1 │", flat)


def test_show_of_a_sparkplug_profile_tells_its_metrics(tmp_path: Path) -> None:
    sparkplug = METER[: METER.index("modbus:")] + (
        "sparkplug:\n  values:\n    - {quantity: active_power_kw, metric: Power/Total, scale: 0.001}\n"
    )
    folder = tmp_path / "own"
    folder.mkdir()
    write(folder, sparkplug)
    plant = write(tmp_path, "profile_folders: [own]\n", "plant.yaml")
    flat = " ".join(profiles("show", "acme", "--plant", plant).stdout.split())
    assert "│ active_power_kw │ kW │ Power/Total │ x 0.001 │" in flat


def test_show_of_an_unknown_name_says_which_was_meant() -> None:
    result = profiles("show", "eastron_sdm360")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == 'there is no profile eastron_sdm360; did you mean "eastron_sdm630"?\n'
    assert "`emsd profiles list`" in profiles("show", "qqqqqqqq").stderr


def test_check_of_a_right_profile_says_what_reading_it_costs(tmp_path: Path) -> None:
    result = profiles("check", write(tmp_path, METER))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "│ acme │ modbus │ 2 │ 1 │ 1 │ 12 │ 33% │ 1 │" in " ".join(result.stdout.split())


def test_check_of_one_file_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    write(tmp_path, "profile: [", "broken.yaml")
    result = profiles("check", write(tmp_path, METER))
    assert (result.exit_code, result.stderr) == (0, "")


def test_check_reports_every_fault_with_file_line_and_hint(tmp_path: Path) -> None:
    text = METER.replace("active_power_kw, address: 11", "activ_power_kw, address: 11").replace("max_reg", "most_reg")
    path = write(tmp_path, text)
    result = profiles("check", path)
    assert (result.exit_code, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert any(line.startswith(f"{path}:9: modbus.most_registers is not a field") for line in lines), lines
    assert any(
        line.startswith(f"{path}:12: modbus.points[0].quantity") and 'did you mean "active_power_kw"?' in line
        for line in lines
    ), lines


@pytest.mark.parametrize(
    ("before", "after", "line", "words"),
    [
        (
            "  points:",
            "  forbidden: [{first: 22, last: 22}]\n  points:",
            14,
            "cannot be used: energy_import_kwh is read with registers 20..21",
        ),
        (
            "type: u32, scale: 0.01",
            "type: u32, scale: 0.01, not_available: [0x1ffffffff]",
            13,
            "cannot be used: energy_import_kwh: not_available 0x1ffffffff does not fit u32",
        ),
        (
            "type: u32",
            "type: u32, scale_register: {address: 200}",
            13,
            "cannot be used: energy_import_kwh and its scale register span",
        ),
    ],
)
def test_check_plans_and_compiles_as_the_collector_does(
    tmp_path: Path, before: str, after: str, line: int, words: str
) -> None:
    text = METER.replace(before, after).replace("first: 22, last: 22", "first: 21, last: 21")
    path = write(tmp_path, text)
    result = profiles("check", path)
    assert result.exit_code == 2
    place = f"{path}:{line}: modbus.points[1] "
    assert result.stderr.startswith(place + words), result.stderr


def test_check_compiles_an_mqtt_profile_as_the_collector_does(tmp_path: Path) -> None:
    text = METER[: METER.index("modbus:")] + "mqtt:\n  values: [{quantity: active_power_kw, path: 'a[b'}]\n"
    path = write(tmp_path, text)
    result = profiles("check", path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{path}:")
    assert "cannot be used: " in result.stderr


POINT = "    - {quantity: active_power_kw, address: 11, type: i32, scale: 0.001}\n"
COUNTER = "    - {quantity: energy_import_kwh, address: 20, type: u32, scale: 0.01, interval_s: 10}\n"
NOTE = "notes: [active power is negative while feeding back]\n"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scale: 0.01,": ""}, "energy_import_kwh counts whole kWh: it is an integer without a scale; most meters"),
        ({"scale: 0.01,": "scale: 0,"}, "energy_import_kwh has scale 0"),
        ({"type: i32": "type: i16"}, "active_power_kw cannot exceed 32.767 kW: it is i16 with scale 0.001"),
        ({"type: i32": "type: u32", NOTE: ""}, "active_power_kw is u32, so what is fed back would read as a huge"),
        (
            {"kind: power_meter": "kind: pv_inverter", NOTE: ""},
            "active_power_kw of an inverter is positive, which means consumption; give it a negative scale",
        ),
        ({"address: 20": "address: 12"}, "energy_import_kwh at 12 shares registers with active_power_kw at 11"),
        (
            {"address: 11": "address: 40011", "address: 20": "address: 40021"},
            "modbus.points has all of its holding registers at 40001 and above, as manuals number them; if they are",
        ),
        ({"profile: acme": "profile: abb_b23"}, "abb_b23 replaces the shipped one"),
    ],
)
def test_check_names_what_looks_wrong_and_leaves_with_0(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    text = METER
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    path = write(tmp_path, text)
    result = profiles("check", path)
    assert result.exit_code == 0, result.output
    [warning] = result.stderr.splitlines()
    assert warning.startswith(f"warning: {path}:")
    assert words in warning


@pytest.mark.parametrize(
    "changes",
    [
        {"scale: 0.01,": "scale: 1,"},
        {"type: i32": "type: u32"},
        {"kind: power_meter": "kind: pv_inverter", "scale: 0.001": "scale: -0.001", NOTE: ""},
        {"address: 20": "address: 12", "max_registers: 60": "one_point_per_request: true"},
        {"address: 11": "address: 40011", "address: 20": "address: 40021", "is negative": "is on the wire negative"},
    ],
)
def test_check_is_content_with_what_is_said_to_be_meant(tmp_path: Path, changes: dict[str, str]) -> None:
    text = METER
    for before, after in changes.items():
        text = text.replace(before, after)
    result = profiles("check", write(tmp_path, text))
    assert (result.exit_code, result.stderr) == (0, "")


def test_check_takes_folders_and_files_and_reports_all_of_them_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    write(folder, METER, "first.yaml")
    write(folder, METER.replace("profile: acme", "profile: other").replace("address: 11", "address: -1"), "other.yaml")
    single = write(tmp_path, METER.replace("profile: acme", "profile: third"), "third.yaml")
    result = profiles("check", folder, single, "--json")
    assert result.exit_code == 2
    document = json.loads(result.stdout)
    assert document["valid"] is False
    assert [each["profile"] for each in document["profiles"]] == ["acme", "third"]
    [fault] = document["faults"]
    assert (fault["file"], fault["line"]) == (str(folder / "other.yaml"), 12)


@pytest.mark.parametrize(
    ("name", "words"),
    [("missing.yaml", "is not there"), ("empty", "has no profiles"), ("notes.txt", "is not a profile")],
)
def test_check_of_what_is_no_profile_says_so(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    result = profiles("check", tmp_path / name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{tmp_path / name}: {words}; " in result.stderr


@pytest.mark.parametrize("command", ["list", "show", "check"])
def test_help_teaches_with_an_example(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "120", "TERM": "dumb", "NO_COLOR": "1"})
    assert result.exit_code == 0
    assert f"emsd profiles {command} " in " ".join(result.stdout.split())


def test_standard_output_holds_the_document_alone() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "emsd", "profiles", "show", "eastron_sdm630", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert json.loads(answer.stdout)["profile"] == "eastron_sdm630"
