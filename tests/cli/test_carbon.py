"""`emsd carbon` as a person uses it: factors, certificates, activities, and statements."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from typer.testing import CliRunner, Result

from emsd.cli import app
from emsd.store.pool import Pool, open_pool
from tests.api.conftest import METER_ID, REGION, insert_plant

JANUARY, FEBRUARY = datetime(2025, 12, 31, 23, tzinfo=UTC), datetime(2026, 1, 31, 23, tzinfo=UTC)
"""Midnights in Berlin."""
T = TypeVar("T")


@dataclass
class Desk:
    """A person with a database, a folder and a key."""

    folder: Path
    url: str

    def emsd(self, *words: str, code: int = 0) -> Result:
        environment = {
            "EMSD_DATABASE_URL": self.url, "EMSD_STATEMENT_KEY_FILE": str(self.folder / "key.pem"), "COLUMNS": "200",
        }  # fmt: skip
        answer = CliRunner().invoke(app, ["carbon", *words], env=environment)
        assert answer.exit_code == code, answer.output
        return answer

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def on_pool(self, action: Callable[[Pool], Awaitable[T]]) -> T:
        async def run() -> T:
            async with open_pool(self.url) as pool:
                return await action(pool)

        return asyncio.run(run())

    def execute(self, statement: str, *arguments: object) -> None:
        self.on_pool(lambda pool: pool.execute(statement, *arguments))


@pytest.fixture
def desk(tmp_path: Path, database_url: str) -> Desk:
    desk = Desk(tmp_path, database_url)

    async def fill(pool: Pool) -> None:
        async with pool.acquire() as connection:
            await insert_plant(connection)
        await pool.execute(
            "INSERT INTO interval_15m (bucket, meter_id, energy_import_kwh, coverage, sample_count)"
            " SELECT bucket, $1, 250, 1, 900"
            " FROM generate_series($2::timestamptz, $3::timestamptz - interval '15 minutes', '15 minutes') AS bucket",
            METER_ID["incomer"], JANUARY, FEBRUARY,
        )  # fmt: skip
        await pool.execute(
            "INSERT INTO carbon_factor (region, method, valid_from, kg_per_kwh, source)"
            " VALUES ($1, 'location', $2, 0.5, 'the agency'), ($1, 'residual', $2, 0.6, 'the agency')",
            REGION, JANUARY,
        )  # fmt: skip

    desk.on_pool(fill)
    return desk


def test_factors_by_the_hour_are_imported_with_every_gap_and_overlap_named_by_file_and_line(desk: Desk) -> None:
    wrong = desk.file(
        "wrong.csv",
        "timestamp,kg_per_kwh,source\n"
        "2026-01-01T00:00:00+01:00,0.4,grid operator\n"
        "2026-01-01T00:30:00+01:00,0.5,grid operator\n"
        "2026-01-01T04:00:00+01:00,381,grid operator\n"
        "2026-01-01T05:00:00,0.4,grid operator\n"
        "2026-01-01T06:07:00+01:00,0.4,grid operator\n"
        "2026-01-01T08:00:00+01:00,x,\n"
        "2026-01-01T09:00:00+01:00,0.4,grid operator\n",
    )
    words = ("factors", "import", "--region", REGION, "--author", "l.wei")
    said = desk.emsd(*words, wrong, code=2).stderr
    assert f"{wrong}:3: timestamp 2026-01-01T00:30:00+01:00 overlaps line 2" in said
    assert f"{wrong}:4: kg_per_kwh 381 is not 0..5; write kilograms" in said
    assert f"{wrong}:5: timestamp 2026-01-01T05:00:00 has no offset" in said
    assert f"{wrong}:6: timestamp 2026-01-01T06:07:00+01:00 is not on a quarter" in said
    assert f"{wrong}:7: kg_per_kwh 'x' is not a number" in said
    assert f"{wrong}:7: source is missing" in said
    assert f"{wrong}:8: timestamp leaves no factor from 2026-01-01T01:30:00+01:00 to 2026-01-01T09:00:00+01:00" in said
    assert "file.csv" in desk.emsd(*words, str(desk.folder / "file.csv"), code=2).stderr
    # The hour that comes twice on the day of the change, told apart by its offset; decimal commas as Excel writes them.
    right = desk.file(
        "right.csv",
        "timestamp;kg_per_kwh;source\n"
        "2026-10-25T02:00:00+02:00;0,41;grid operator\n2026-10-25T02:00:00+01:00;0,42;grid operator\n",
    )
    assert "stored 2 rows" in desk.emsd(*words, right).stdout
    assert f"right.csv is version 1 of {REGION} (location) already" in desk.emsd(*words, right).stdout
    gap = desk.file(
        "gap.csv",
        "timestamp,kg_per_kwh,source\n2026-10-25T02:00:00Z,0.5,revised\n2026-10-25T04:00:00Z,0.6,revised\n",
    )
    assert "as version 2" in desk.emsd(*words, gap, "--allow-gaps").stdout
    (first, second) = json.loads(desk.emsd("factors", "list", "--json").stdout)
    assert [first["hours"], second["version"], second["file_name"]] == [2, 2, "gap.csv"]
    assert "--resolution-minutes 20" in desk.emsd(*words, gap, "--resolution-minutes", "20", code=2).stderr


def test_certificates_are_entered_retired_sold_and_taken_back_and_nothing_twice(desk: Desk) -> None:
    add = (
        "certificates", "add", "GEC-1", "--kind", "gec", "--registry", "registry", "--mwh", "500", "--energy-source",
        "wind", "--produced-from", "2026-01-01", "--produced-to", "2026-02-01", "--document", "trade", "--author",
        "l.wei",
    )  # fmt: skip
    assert "entered gec GEC-1 as number 1: 500 MWh" in desk.emsd(*add).stdout
    assert "counts once" in desk.emsd(*add, code=1).stderr
    who = ("--author", "l.wei", "--document", "retirement 1")
    assert (
        "200 MWh are left"
        in desk.emsd("certificates", "retire", "GEC-1", "--for", "2026-01", "--mwh", "300", *who).stdout
    )
    assert (
        "has 200 MWh left of 500, not 201"
        in desk.emsd("certificates", "retire", "1", "--for", "2026", "--mwh", "201", *who, code=1).stderr
    )
    assert "0 MWh are left" in desk.emsd("certificates", "sell", "GEC-1", *who).stdout
    assert (
        "takes back entry" in desk.emsd("certificates", "reverse", "3", "--author", "l.wei", "--note", "wrong").stdout
    )
    assert "150 MWh are left" in desk.emsd("certificates", "cancel", "GEC-1", "--mwh", "50", *who).stdout
    for wrong, words in (
        ("name the use", ("retire", "GEC-1", *who)),
        ("is no period", ("retire", "GEC-1", "--for", "spring", *who)),
        ("is not a number", ("cancel", "GEC-1", "--mwh", "x", *who)),
    ):
        assert wrong in desk.emsd("certificates", *words, code=2).stderr
    assert (
        "no certificate or contract is called 'GEC-9'"
        in desk.emsd("certificates", "sell", "GEC-9", *who, code=1).stderr
    )
    assert "(taken back)" in desk.emsd("certificates", "journal").stdout
    (row,) = json.loads(desk.emsd("certificates", "list", "--json").stdout)
    assert (row["left_mwh"], row["valid_to"][:10]) == ("150", "2028-01-31")
    listed = desk.emsd("certificates", "list").stdout
    assert "GEC-1" in listed
    assert "2026-01-01 to 2026-02-01" in listed, "local days, as they were entered"
    desk.emsd("certificates", "cancel", "GEC-1", *who, "--note", "[wet]")
    assert "[wet]" in desk.emsd("certificates", "journal").stdout


ACTIVITIES = """\
reference,kind,substance,process,period_from,period_to,area,amount,unit,abated_share,document
GAS-1,fuel,natural_gas_cn,,2026-01-01,2026-02-01,utility,10000,m3,,invoice 1
NF3-1,process_gas,NF3,chamber_clean_remote,2026-01-01,2026-02-01,fab,1000,kg,1,gas store
"""


def test_activities_come_from_a_list_with_faults_by_file_and_line(desk: Desk) -> None:
    wrong = desk.file(
        "wrong.csv",
        ACTIVITIES
        + "GAS-1,fuel,coal,,2026-01-01,2026-02-01,,1,t,,invoice\n"
        + "X,fuel,natural_gas_cn,,yesterday,2026-02-01,,many,m3,,\n",
    )
    said = desk.emsd("activities", "import", wrong, "--author", "l.wei", code=2).stderr
    assert f"{wrong}:5: document is missing" in said
    wrong = desk.file("wrong.csv", ACTIVITIES + "GAS-1,fuel,coal,,yesterday,2026-02-01,,many,t,,invoice\n")
    assert "yesterday" in desk.emsd("activities", "import", wrong, "--author", "l.wei", code=2).stderr
    wrong = desk.file("wrong.csv", ACTIVITIES + "GAS-2,fuel,coal,,2026-01-01,2026-02-01,,1,t,,invoice\n")
    assert f"{wrong}:4: substance 'coal' is no known fuel" in (
        desk.emsd("activities", "import", wrong, "--author", "l.wei", code=2).stderr
    )
    wrong = desk.file("wrong.csv", ACTIVITIES.replace("amount", "quantity"))
    assert f"{wrong}:1: quantity is no column of this list" in (
        desk.emsd("activities", "import", wrong, "--author", "l.wei", code=2).stderr
    )
    right = desk.file("right.csv", ACTIVITIES)
    words = ("activities", "import", right, "--author", "l.wei")
    assert desk.emsd(*words).stdout == "2 added, 0 replaced, 0 unchanged\n"
    assert desk.emsd(*words).stdout == "0 added, 0 replaced, 2 unchanged\n"
    desk.file("right.csv", ACTIVITIES.replace(",1000,kg", ",900,kg"))
    assert "another content" in desk.emsd(*words, code=1).stderr
    assert desk.emsd(*words, "--replace").stdout == "0 added, 1 replaced, 1 unchanged\n"
    rows = json.loads(desk.emsd("activities", "list", "--json").stdout)
    assert {row["reference"]: row["version"] for row in rows} == {"GAS-1": 1, "NF3-1": 2}
    assert "NF3 chamber_clean_remote" in desk.emsd("activities", "list", "--all").stdout


def test_what_a_counter_counted_becomes_an_activity_with_its_readings(desk: Desk) -> None:
    """A pulse of 0.01 m3 every second; the counter restarts at 0 in the middle of the month."""
    insert = (
        "INSERT INTO reading (time, meter_id, pulse_1_total)"
        " SELECT time, $1, extract(epoch FROM time - CASE WHEN time < $4 THEN $2 ELSE $4 END)"
        " FROM generate_series($2::timestamptz, $3::timestamptz, '10 minutes') AS time"
    )
    begin, end = JANUARY - timedelta(hours=6), FEBRUARY + timedelta(hours=6)
    desk.execute(insert, METER_ID["compressor-controller"], begin, end, datetime(2026, 1, 15, tzinfo=UTC))
    words = (
        "activities", "measure", "compressor-controller", "pulse_1_total", "--per-count", "0.01", "--unit", "m3",
        "--substance", "natural_gas_cn", "--period", "2026-01", "--author", "l.wei",
    )  # fmt: skip
    assert "added compressor-controller pulse_1_total 2026-01" in desk.emsd(*words).stdout
    assert "unchanged" in desk.emsd(*words).stdout
    (row,) = json.loads(desk.emsd("activities", "list", "--json").stdout)
    # The ten minutes before the restart are not known to the counter: it began again at 0.
    assert float(row["amount"]) == pytest.approx((31 * 86400 - 600) * 0.01)
    assert "reset" in row["note"]
    assert "pulse_1_total: 21000 at 2025-12-31T22:50:00+00:00, 1465800 at 2026-01-31T23:10:00+00:00" in row["document"]
    # A gas meter counts cubic metres, begins again at 10,000, and sends one wrong value.
    desk.execute(
        "INSERT INTO reading (time, meter_id, gas_volume_m3)"
        " SELECT time, $1, CASE WHEN time = $4 THEN 7777 ELSE"
        " mod((9000 + extract(epoch FROM time - $2) / 600)::numeric, 10000) END"
        " FROM generate_series($2::timestamptz, $3::timestamptz, '10 minutes') AS time",
        METER_ID["incomer"], begin, end, datetime(2026, 1, 20, 5, 10, tzinfo=UTC),
    )  # fmt: skip
    measured = desk.emsd(
        "activities", "measure", "incomer", "gas_volume_m3", "--substance", "natural_gas_cn", "--period", "2026-01",
        "--author", "l.wei", "--rollover-at", "10000", "--most-per-hour", "50",
    ).stdout  # fmt: skip
    assert "added incomer gas_volume_m3 2026-01: 4464 m3" in measured
    by_reference = {row["reference"]: row for row in json.loads(desk.emsd("activities", "list", "--json").stdout)}
    row = by_reference["incomer gas_volume_m3 2026-01"]
    assert "rollover" in row["note"]
    assert float(row["kg_co2e"]["AR5"]) == pytest.approx(4464 * 2.1622, rel=1e-4)
    for wrong, change in (
        ("no readings of pulse_1_total", ("--period", "2026-03")),
        ("is no known fuel", ("--substance", "coal")),
    ):
        assert wrong in desk.emsd(*words, *change, code=1 if "period" in change[0] else 2).stderr
    assert "is no counter" in desk.emsd(*words[:3], "active_power_kw", *words[4:], code=1).stderr


def test_a_statement_is_made_shown_verified_restated_and_compared(desk: Desk) -> None:
    make = ("statement", "create", "--author", "l.wei")
    assert "emsd carbon key create" in desk.emsd(*make, "--period", "2026-01", code=2).stderr
    fingerprint = desk.emsd("key", "create").stdout.splitlines()[-1]
    assert desk.emsd("key", "show").stdout.strip() == fingerprint
    assert "exists already" in desk.emsd("key", "create", code=2).stderr
    desk.emsd("activities", "import", desk.file("right.csv", ACTIVITIES), "--author", "l.wei")
    made = desk.emsd(*make, "--period", "2026-01").stdout
    assert "statement 1, SHA-256 " in made
    for figure in ("744,000", "372.000", "446.400", "43.357"):  # kWh, t location, t market, t Scope 1
        assert figure in made
    assert "to replace it, restate it" in desk.emsd(*make, "--period", "2026-01", code=1).stderr
    assert "is not over" in desk.emsd(*make, "--from", "2026-01-01", "--to", "2099-01-01", code=1).stderr
    assert "name the period" in desk.emsd(*make, code=2).stderr
    verified = desk.emsd("statement", "verify").stdout
    assert f"statement 1 holds: digest, signature, chain, recomputation; {fingerprint}" in verified
    assert "nothing that it rests on has changed since" in verified
    assert "has changed" not in desk.emsd("statement", "verify", "--no-live").stdout, "nobody looked"
    assert "Grid import [kWh]" in made
    assert "signed with the key" in desk.emsd("statement", "verify", "--fingerprint", "SHA256:0", code=1).stderr
    document = desk.emsd("statement", "show", "1", "--json").stdout
    assert json.loads(document)["results"]["total"]["location_kg"] == "372000"
    assert "Scope 2, market-based" in desk.emsd("statement", "show", "1").stdout

    frozen = desk.folder / "statement-1.json"
    told = desk.emsd("statement", "export", "1", "--to", str(desk.folder)).stdout
    assert f"-in {frozen} -sigfile" in told
    key = load_pem_public_key((desk.folder / "statement-1.pem").read_bytes())
    assert isinstance(key, Ed25519PublicKey)
    key.verify((desk.folder / "statement-1.sig").read_bytes(), frozen.read_bytes())
    assert frozen.read_text(encoding="utf-8") == document
    assert "cannot be written" in desk.emsd("statement", "export", "1", "--to", str(frozen), code=2).stderr

    desk.execute("UPDATE interval_15m SET energy_import_kwh = 260 WHERE bucket >= '2026-01-31T22:00:00Z'")
    changed = desk.emsd("statement", "verify", "1").stdout
    assert "meter incomer (grid) 2026-01 import_kwh" in changed
    assert "744040" in changed
    desk.emsd(*make, "--period", "2026-01", "--restates", "1", "--reason", "late readings of the 31st")
    assert desk.emsd("statement", "show", "1", "--json").stdout == document, "bit by bit, whatever came later"
    told = desk.emsd("statement", "diff", "1", "2").stdout
    assert "statement 2 restates 1: late readings of the 31st" in told
    assert "372020" in told
    assert ["total location_kg", "372000", "372020"] in [
        list(each.values()) for each in json.loads(desk.emsd("statement", "diff", "1", "2", "--json").stdout)
    ]
    rows = json.loads(desk.emsd("statement", "list", "--json").stdout)
    assert [(row["restates"], row["restated_by"]) for row in rows] == [(None, 2), (1, None)]
    assert "there is no statement 9" in desk.emsd("statement", "show", "9", code=1).stderr
    assert "no such statement" in desk.emsd("statement", "verify", "9", code=1).stderr

    desk.execute("ALTER TABLE carbon_statement DISABLE TRIGGER USER, DROP CONSTRAINT carbon_statement_digest")
    desk.execute("UPDATE carbon_statement SET document = replace(document, '\"372000\"', '\"272000\"')")
    forged = desk.emsd("statement", "verify", code=1).stderr
    assert "statement 1 does not hold: its document is not the one that was hashed" in forged
    assert "statement 1 does not hold: its signature is not that of its document" in forged
    assert "statement 1 does not hold: its frozen inputs do not give its figures again" in forged
