"""The committed JSON is what the code writes, and every panel says what it shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from dashboards.generate import _BUILDERS, generated, stale
from emsd.quantities import RUN_STATE_CODES

ROOT = Path(__file__).parents[2]
PROVISIONING = ROOT / "dashboards" / "provisioning"
BOARDS: dict[str, dict[str, Any]] = {name: json.loads(text) for name, text in generated().items()}
PANELS = [
    pytest.param(panel, id=f"{name}-{panel['title'].replace(' ', '-')}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
]


def test_the_committed_json_is_what_the_code_writes() -> None:
    assert stale() == [], "run `make dashboards`"


def test_check_tells_fresh_from_stale(tmp_path: Path) -> None:
    assert (
        subprocess.run([sys.executable, "-m", "dashboards.generate", "--check"], cwd=ROOT, check=False).returncode == 0
    )
    for name, text in generated().items():
        (tmp_path / name).write_text(text)
    assert stale(tmp_path) == []
    (tmp_path / "emsd-pv.json").write_text("{}")
    (tmp_path / "emsd-old.json").write_text("{}")
    (tmp_path / "emsd-carbon.json").unlink()
    assert stale(tmp_path) == ["emsd-carbon.json", "emsd-old.json", "emsd-pv.json"]


def test_uids_are_those_of_the_files_and_boards_link_to_each_other() -> None:
    assert len(BOARDS) == len(_BUILDERS), "two dashboards have the same uid"
    for name, board in BOARDS.items():
        assert f"{board['uid']}.json" == name
        assert board["uid"].startswith("emsd-")
        assert board["tags"] == ["emsd"]
        assert [link["tags"] for link in board["links"] if link["type"] == "dashboards"] == [["emsd"]]
        assert board["refresh"] in {"10s", "30s"}
        numbers = [panel["id"] for panel in board["panels"]]
        assert len(set(numbers)) == len(numbers)


def test_panels_lie_side_by_side_within_the_grid() -> None:
    for name, board in BOARDS.items():
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            cells = {
                (place["x"] + column, place["y"] + row) for column in range(place["w"]) for row in range(place["h"])
            }
            assert place["x"] + place["w"] <= 24, (name, panel["title"])
            assert taken.isdisjoint(cells), (name, panel["title"])
            taken |= cells


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_has_title_description_unit_and_the_provisioned_datasource(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert len(panel["description"]) > 40
    assert panel["fieldConfig"]["defaults"]["unit"]
    (target,) = panel["targets"]
    datasource = {"type": "grafana-postgresql-datasource", "uid": "emsd-timescaledb"}
    assert panel["datasource"] == target["datasource"] == datasource
    # Newer Grafana removes comments before it expands macros, older does not: there must be none.
    assert not re.search(r"--|/\*", target["rawSql"])


@pytest.mark.parametrize("panel", PANELS)
def test_gaps_stay_gaps(panel: dict[str, Any]) -> None:
    if panel["type"] == "timeseries":
        assert panel["fieldConfig"]["defaults"]["custom"]["spanNulls"] is False
        sql = panel["targets"][0]["rawSql"]
        # Times without a row become NULL, or a line would be drawn across them; bars need none.
        is_bars = panel["fieldConfig"]["defaults"]["custom"].get("drawStyle") == "bars"
        assert is_bars or ", NULL)" in sql


@pytest.mark.parametrize("panel", PANELS)
def test_only_tables_granted_to_the_reader_and_no_raw_readings_for_energy(panel: dict[str, Any]) -> None:
    sql = panel["targets"][0]["rawSql"]
    if panel["fieldConfig"]["defaults"]["unit"] == "kwatth":
        assert "interval_" in sql
        assert not re.search(r"\breading\b", sql)


def test_run_states_are_called_by_their_codes() -> None:
    from dashboards.common import RUN_STATES

    assert {value: text for value, (text, _) in RUN_STATES.items()} == {
        f"{code:g}": state.value for state, code in RUN_STATE_CODES.items()
    }


def test_the_datasource_is_the_reader_with_its_password_from_the_environment() -> None:
    (source,) = YAML(typ="safe").load(PROVISIONING / "datasources" / "timescaledb.yaml")["datasources"]
    assert source["uid"] == "emsd-timescaledb"
    assert source["type"] == "grafana-postgresql-datasource"
    assert source["user"] == "emsd_reader"
    assert source["secureJsonData"] == {"password": "$EMSD_READER_PASSWORD"}
    assert source["jsonData"]["timescaledb"] is True
    assert source["jsonData"]["postgresVersion"] == 1700
    assert source["jsonData"]["database"] == "$EMSD_DATABASE_NAME"


def test_the_dashboards_are_taken_from_a_folder_named_by_the_environment() -> None:
    (provider,) = YAML(typ="safe").load(PROVISIONING / "dashboards" / "emsd.yaml")["providers"]
    assert provider["options"]["path"] == "$EMSD_DASHBOARDS_PATH"
    assert provider["allowUiUpdates"] is False
