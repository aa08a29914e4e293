"""`emsd quarantine` as a person uses it: see what was refused, mend the profile, replay, drop the rest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from typer.testing import CliRunner, Result

from emsd.cli import app
from emsd.collector import Poison
from emsd.plant.loader import load_plant
from emsd.readings import Quality, instant_us
from emsd.store.plant import sync_plant
from emsd.store.pool import Pool, open_pool
from emsd.store.quarantine import store_poisons

RECEIVED = datetime(2026, 3, 29, 2, 0, 5, tzinfo=UTC)
RECEIVED_US = instant_us(RECEIVED)
PLANT = """\
site: {number: 3, name: Works, time_zone: UTC, carbon_region: none}
areas: [{key: hall, name: Hall}]
assets: [{key: press, name: Press, kind: process_tool, area: hall, rated_power_kw: 80}]
connections:
  - {key: broker, kind: mqtt, host: 127.0.0.1}
  - {key: gateway, kind: modbus_tcp, host: 127.0.0.1}
profile_folders: [profiles]
meters:
  - {key: press-1, name: Press 1, asset: press, profile: acme, connection: broker, topic: hall/press-1}
  - {key: press-2, name: Press 2, asset: press, profile: eastron_sdm630, connection: gateway, unit_id: 1}
"""
PROFILE = """\
profile: acme
kind: power_meter
manufacturer: Acme
model: Gateway
source: [a test]
mqtt:
  topic: "{topic}/state"
  time: {path: ts, format: epoch_s}
  values: [{quantity: active_power_kw, path: %s, scale: 0.001}]
"""
T = TypeVar("T")


@dataclass
class Works:
    """A plant in a folder and a database that knows it; its profile reads a path that the device does not send."""

    folder: Path
    database_url: str

    def mend(self, path: str = "p.w") -> None:
        (self.folder / "profiles" / "acme.yaml").write_text(PROFILE % path)

    def on_pool(self, action: Callable[[Pool], Awaitable[T]]) -> T:
        async def run() -> T:
            async with open_pool(self.database_url) as pool:
                return await action(pool)

        return asyncio.run(run())

    def keep(self, *payloads: bytes, **facts: Any) -> list[int]:
        """Put messages of press-1 into quarantine and return their numbers."""
        known: dict[str, Any] = {"meter_id": 3_000_001, "connection": "broker", "topic": "hall/press-1/state", "qos": 1}
        poisons = [
            Poison("mqtt://127.0.0.1:1883/hall", each, "no values", RECEIVED_US, **(known | facts)) for each in payloads
        ]
        self.on_pool(lambda pool: store_poisons(pool, poisons))
        rows = self.fetch("SELECT quarantine_id FROM quarantine ORDER BY 1 DESC LIMIT $1", len(payloads))
        return [row["quarantine_id"] for row in reversed(rows)]

    def fetch(self, statement: str, *arguments: object) -> list[Any]:
        return self.on_pool(lambda pool: pool.fetch(statement, *arguments))

    def call(self, *words: object, answer: str | None = None) -> Result:
        environment = {
            "EMSD_DATABASE_URL": self.database_url,
            "EMSD_PLANT": str(self.folder / "plant.yaml"),
            "COLUMNS": "200",
        }
        return CliRunner().invoke(app, ["quarantine", *(str(word) for word in words)], input=answer, env=environment)

    def document(self, *words: object) -> Any:
        return json.loads(self.call(*words, "--json").stdout)


@pytest.fixture
def works(tmp_path: Path, database_url: str) -> Works:
    made = Works(tmp_path, database_url)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "plant.yaml").write_text(PLANT)
    made.mend("power.total")
    loaded = load_plant(tmp_path / "plant.yaml", environ={})
    ids = made.on_pool(lambda pool: sync_plant(pool, loaded.plant, loaded.profiles))
    assert ids == {"press-1": 3_000_001, "press-2": 3_000_002}
    return made


def test_what_was_refused_is_seen_and_stored_once_its_profile_is_mended(works: Works) -> None:
    timed, untimed = works.keep(b'{"ts": 1774749600, "p": {"w": 1500}}', b'{"p": {"w": 2500}}')

    seen = works.call("list", "--meter", "press-1")
    assert seen.exit_code == 0
    assert "hall/press-1/state" in seen.stdout
    assert "no values" in seen.stdout
    shown = works.call("show", timed)
    assert '{"ts": 1774749600, "p": {"w": 1500}}' in shown.stdout

    refused = works.call("replay", timed, untimed)
    assert refused.exit_code == 1
    assert "holds none of the values" in refused.stdout
    assert works.fetch("SELECT 1 FROM reading") == []
    assert len(works.document("list")) == 2

    works.mend()
    done = works.call("replay", timed, untimed)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("a new reading") == 2
    assert "2 stored" in done.stderr
    rows = works.fetch("SELECT time, quality, active_power_kw FROM reading ORDER BY time")
    assert [(row["time"], Quality(row["quality"]), row["active_power_kw"]) for row in rows] == [
        (datetime(2026, 3, 29, 2, tzinfo=UTC), Quality.DEVICE_TIME | Quality.REPLAYED, 1.5),
        (RECEIVED, Quality.REPLAYED, 2.5),
    ]
    assert works.fetch("SELECT 1 FROM dirty_interval") != []  # the energy tables follow
    assert works.document("list") == []
    resolved = works.document("list", "--resolved")
    assert {row["outcome"] for row in resolved} == {"stored"}
    assert all("@" in row["resolved_by"] and row["resolved_at"] for row in resolved)

    again = works.call("replay", timed)
    assert again.exit_code == 0
    assert "1 skipped" in again.stderr
    assert len(works.fetch("SELECT 1 FROM reading")) == 2


def test_all_of_a_meter_or_everything_is_replayed_after_asking(works: Works) -> None:
    works.mend()
    payloads = [b'{"ts": %d, "p": {"w": 1}}' % (1_774_749_600 + n) for n in range(250)]
    works.keep(*payloads)
    works.keep(b"{", b'{"p": {"w": 1}}', meter_id=3_000_002)
    assert works.call("replay", "--all", answer="n\n").exit_code == 1
    assert works.fetch("SELECT 1 FROM reading") == []
    one_meter = works.call("replay", "--meter", "press-1", "--json")
    assert one_meter.exit_code == 0
    assert [each["became"] for each in json.loads(one_meter.stdout)] == ["stored"] * 250
    everything = works.call("replay", "--all", "--yes")
    assert everything.exit_code == 1
    assert everything.stdout.count("is not on an MQTT connection of this plant") == 2
    assert len(works.fetch("SELECT 1 FROM reading")) == 250


@pytest.mark.parametrize(
    ("payload", "facts", "why"),
    [
        (b"{", {}, "not JSON"),
        (b'{"p": {"w": 1}}', {"payload_bytes": 100_000}, "only 15 of its 100,000 bytes were kept"),
        (b'{"p": {"w": 1}}', {"topic": "hall/press-1/other"}, "makes no reading of topic hall/press-1/other"),
        (b'{"p": {"w": 1}}', {"topic": None}, "no MQTT message of a meter"),
        (b'{"ts": 9999999999, "p": {"w": 1}}', {}, "an hour ahead"),
    ],
)
def test_what_still_cannot_be_a_reading_stays_with_the_reason_of_today(
    works: Works, payload: bytes, facts: dict[str, Any], why: str
) -> None:
    works.mend()
    (number,) = works.keep(payload, **facts)
    answer = works.call("replay", number)
    assert answer.exit_code == 1
    assert why in " ".join(answer.stdout.replace("│", " ").split())
    assert "1 refused" in answer.stderr
    assert works.document("show", number)["outcome"] is None


def test_a_reading_that_is_there_already_is_merged_and_the_row_is_decided(works: Works) -> None:
    works.mend()
    first, second = works.keep(*[b'{"ts": 1774749600, "p": {"w": 1500}}'] * 2)
    answer = works.call("replay", second, first)
    assert answer.exit_code == 0
    assert "1 stored, 1 merged" in answer.stderr
    assert len(works.fetch("SELECT 1 FROM reading")) == 1
    assert works.document("list") == []


def test_what_is_dropped_is_emptied_but_its_row_stays_with_who_and_when(works: Works) -> None:
    first, second = works.keep(b"noise", b"more noise")
    assert works.call("drop", first, answer="n\n").exit_code == 1
    assert works.document("show", first)["outcome"] is None
    assert works.call("drop", first, answer="y\n").exit_code == 0
    answer = works.call("drop", first, second, 4711, "--yes")
    assert answer.exit_code == 1
    assert "dropped 1" in answer.stdout
    assert f"decided on before: {first}, 4711" in answer.stderr
    shown = works.document("show", second)
    assert (shown["outcome"], shown["payload"], shown["payload_bytes"], shown["kept_bytes"]) == ("dropped", "", 10, 0)
    assert "@" in shown["resolved_by"]


def test_a_list_is_for_machines_too(works: Works) -> None:
    works.keep(b"\xff\xfe", b"text", retained=True)
    works.keep(b"3", meter_id=None, topic=None)
    rows = works.document("list", "--meter", "3000001")
    assert [(row["payload"], row["encoding"], row["retained"]) for row in rows] == [
        ("text", "text", True), ("//4=", "base64", True)
    ]  # fmt: skip
    assert len(works.document("list", "--limit", 1)) == 1
    assert len(works.document("list", "--since", "2026-03-29")) == 3
    assert works.document("list", "--since", "2026-03-29T02:00:06") == []
    assert "nothing is in quarantine" in works.call("list", "--since", "2026-03-30").stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["replay"], 2, "say what to replay"),
        (["replay", "1", "--all"], 2, "say what to replay"),
        (["replay", "--meter", "press-9"], 2, "the database knows no meter 'press-9'"),
        (["replay", "4711"], 1, "1 of the numbers are not in quarantine"),
        (["list", "--meter", "press-9"], 2, "the database knows no meter 'press-9'"),
        (["list", "--since", "yesterday"], 2, "yesterday"),
        (["show", "4711"], 1, "nothing in quarantine has the number 4711"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_an_exit_code(
    works: Works, words: list[str], code: int, said: str
) -> None:
    answer = works.call(*words)
    assert answer.exit_code == code
    assert said in answer.stderr
    assert "Traceback" not in answer.output


def test_help_teaches() -> None:
    for words in (["--help"], ["list", "--help"], ["show", "--help"], ["replay", "--help"], ["drop", "--help"]):
        assert CliRunner().invoke(app, ["quarantine", *words]).exit_code == 0
    text = CliRunner().invoke(app, ["quarantine", "--help"]).stdout
    assert "Exit codes: 0 done" in " ".join(text.split())
