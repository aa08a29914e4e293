"""`emsd events` as a person uses it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from emsd.cli import app
from emsd.store.pool import open_pool

SIGNED = ("--author", "l.wei", "--note", "work order 4711")
AT = ("--at", "2026-03-29T14:05:00+02:00")
PLANT = """
INSERT INTO site VALUES (1, 'Works', 'UTC', NULL, 'DE', NULL, NULL), (2, 'More', 'UTC', NULL, 'DE', NULL, NULL);
INSERT INTO area (site_id, key, name) VALUES (1, 'hall', 'Hall'), (2, 'hall', 'Hall');
INSERT INTO asset (site_id, area_id, key, name, kind) SELECT site_id, area_id, 'a', 'A', 'feeder' FROM area;
INSERT INTO meter (meter_id, site_id, asset_id, key, name, profile, connection, address, measures_energy,
    poll_interval_s, max_gap_s)
SELECT site_id * 1000000 + number, site_id, asset_id, 'press-' || number, 'M', 'p', 'c', '1', true, 1, 300
FROM asset, (VALUES (1), (3)) AS numbers (number) WHERE site_id = 1 OR number = 3
"""


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    async def insert() -> None:
        async with open_pool(database_url) as pool:
            await pool.execute(PLANT)

    asyncio.run(insert())
    monkeypatch.setenv("EMSD_DATABASE_URL", database_url)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["events", *arguments])

    return invoke


def test_events_are_added_listed_superseded_and_withdrawn(run: Any) -> None:
    added = run("add", "press-1", "swap", *AT, *SIGNED, "--final-import-kwh", "912345.6", "--serial", "2402117")
    assert added.exit_code == 0, added.output
    assert added.output == "event 1 of press-1 is written: swap at 2026-03-29T12:05:00+00:00\n"
    again = run("add", "press-1", "swap", *AT, *SIGNED, "--final-import-kwh", "912346", "--supersedes", "1", "--json")
    assert again.exit_code == 0, again.output
    document = json.loads(again.stdout)
    assert (document["event_id"], document["supersedes"], document["author"]) == (2, 1, "l.wei")
    assert document["detail"] == {"final": {"import_kwh": 912346.0}}
    for kind, facts in (
        ("reset", ["--final-export-kwh", "3"]),
        ("ct-ratio", ["--factor", "5"]),
        ("manual-reading", ["--import-kwh", "5", "--export-kwh", "0"]),
        ("hold-out", ["--until", "2026-03-29T14:06:00+02:00"]),
    ):
        result = run("add", "1000003", kind, *AT, *SIGNED, *facts)
        assert result.exit_code == 0, result.output
    assert run("withdraw", "2", *SIGNED).exit_code == 0
    listed = json.loads(run("list", "press-1", "--json").stdout)
    assert {row["event_id"]: (row["kind"], row["superseded_by"]) for row in listed} == {
        1: ("swap", 2),
        2: ("swap", 7),
        7: ("withdrawal", None),
    }
    everything = run("list").stdout
    assert "manual_reading" in everything
    assert "superseded by 7" in everything


def test_what_is_wrong_is_one_sentence_with_its_cure(run: Any) -> None:
    assert run("list").stdout == "no meter event is written down\n"
    for arguments, code, words in (
        (("add", "press-9", "reset", *AT, *SIGNED), 2, "knows no meter 'press-9'; write its key"),
        (("add", "press-3", "reset", *AT, *SIGNED), 2, "several sites have a meter 'press-3'; write its number"),
        (("add", "press-1", "reset", "--at", "yesterday", *SIGNED), 2, "--at 'yesterday' is no time; write date"),
        (("add", "press-1", "reset", "--at", "2026-03-29T14:05", *SIGNED), 2, "has no offset"),
        (("add", "press-1", "reset", *AT, "--author", " ", "--note", "x"), 2, "--author is empty"),
        (("add", "press-1", "reset", *AT, "--author", "l.wei"), 2, "--note"),
        (("add", "press-1", "ct-ratio", *AT, *SIGNED), 2, "ct-ratio: a ct_ratio event needs a factor"),
        (("add", "press-1", "reset", *AT, *SIGNED, "--factor", "5"), 2, "takes no factor; leave it out"),
        (("add", "press-1", "reset", *AT, *SIGNED, "--final-import-kwh", "nan"), 2, "none of a counter"),
        (("add", "press-1", "reset", "--at", "2999-01-01T00:00Z", *SIGNED), 1, "check the time"),
        (("withdraw", "99", *SIGNED), 1, "there is no event 99"),
    ):
        result = run(*arguments)
        assert (result.exit_code, words in " ".join(result.output.split())) == (code, True), result.output
