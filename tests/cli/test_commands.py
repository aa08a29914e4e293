"""The commands as a person calls them: what they print, and the exit code."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config" / "plant.example.yaml"


def emsd(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with no EMSD_ variable but the given ones."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EMSD_DATABASE")}
    return subprocess.run(
        [sys.executable, "-m", "emsd", *words],
        env={**environment, "COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb", **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_names_every_command() -> None:
    answer = emsd("--help")
    assert answer.returncode == 0
    for command in ("run", "demo", "simulate", "migrate", "check", "schema", "servers", "token"):
        assert re.search(rf"^\W*{command} ", answer.stdout, re.MULTILINE), command


@pytest.fixture
def wrong_plant(tmp_path: Path) -> Path:
    path = tmp_path / "plant.yaml"
    text = EXAMPLE.read_text(encoding="utf-8").replace("unit_id: 3", "unit_id: 300", 1)
    text = text.replace("parent: incomer", "parent: incommer", 1).replace("kg_per_kwh: 0.5568", "kg_per_kwh: coal")
    shutil.copy(EXAMPLE.parent / "meters.example.csv", tmp_path)
    path.write_text(text, encoding="utf-8")
    return path


def test_run_with_a_wrong_plant_names_every_fault_with_its_line_and_starts_nothing(
    wrong_plant: Path, database_url: str
) -> None:
    answer = emsd("run", "--plant", str(wrong_plant), "--database-url", database_url)
    assert answer.returncode == 2
    faults = answer.stderr.splitlines()
    assert any(re.search(r"plant\.yaml:\d+: meters\[2\]\.unit_id 300 is not 1\.\.247", line) for line in faults), faults
    assert any("incommer" in line and "incomer" in line for line in faults), faults
    assert any("carbon_factors[0].kg_per_kwh" in line and "coal" in line for line in faults), faults
    assert "to mend; nothing was started" in faults[-1]
    assert "Traceback" not in answer.stderr

    async def meters() -> int:
        connection = await asyncpg.connect(database_url)
        try:
            return int(await connection.fetchval("SELECT count(*) FROM meter"))
        finally:
            await connection.close()

    assert asyncio.run(meters()) == 0


def test_run_without_a_database_says_which_variable_to_set() -> None:
    answer = emsd("run", "--plant", str(EXAMPLE))
    assert answer.returncode == 2
    assert "EMSD_DATABASE_URL" in answer.stderr


def test_a_wrong_setting_is_named_without_its_value(database_url: str) -> None:
    answer = emsd("run", "--plant", str(EXAMPLE), "--database-url", database_url, EMSD_BATCH_ROWS="many-secrets")
    assert answer.returncode == 2
    assert "EMSD_BATCH_ROWS" in answer.stderr
    assert "many-secrets" not in answer.stderr


def test_migrate_is_safe_to_repeat_and_mirrors_the_plant(postgres_database: str) -> None:
    first = emsd("migrate", "--database-url", postgres_database, "--plant", str(EXAMPLE))
    assert first.returncode == 0, first.stderr
    assert "applied 0001_plant" in first.stdout
    assert "the database knows 25 meters of Display line" in first.stdout
    again = emsd("migrate", "--database-url", postgres_database)
    assert again.returncode == 0
    assert "applied" not in again.stdout


def test_the_readers_password_is_taken_from_the_environment_and_never_shown(postgres_database: str) -> None:
    missing = emsd("migrate", "--database-url", postgres_database, "--reader-password-env", "READER_SECRET")
    assert missing.returncode == 2
    assert "READER_SECRET is not set" in missing.stderr
    given = emsd(
        "migrate",
        "--database-url",
        postgres_database,
        "--reader-password-env",
        "READER_SECRET",
        READER_SECRET="s3cr3t-x",
    )
    assert given.returncode == 0, given.stderr
    assert "s3cr3t-x" not in given.stdout + given.stderr


def test_a_database_that_cannot_be_reached_is_one_sentence() -> None:
    answer = emsd("migrate", "--database-url", "postgresql://emsd:topsecret@127.0.0.1:1/emsd")
    assert answer.returncode == 1
    assert "127.0.0.1:1" in answer.stderr
    assert "topsecret" not in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_notification_url_that_cannot_work_is_found_before_anything_starts(command: str, database_url: str) -> None:
    words = {"check": ("check", str(EXAMPLE)), "run": ("run", "--plant", str(EXAMPLE), "--database-url", database_url)}
    answer = emsd(*words[command], EMSD_ONCALL_URL="jsn://user:hunter2@host/path")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("notification target oncall: its URL is none that Apprise knows (jsn://...)")
    assert "hunter2" not in answer.stderr


def test_a_command_whose_database_is_away_ends_with_one_sentence_that_promises_nothing() -> None:
    answer = emsd("migrate", "--database-url", "postgresql://emsd:hunter2@127.0.0.1:1/emsd")
    assert answer.returncode == 1
    [sentence] = answer.stderr.splitlines()
    assert sentence.startswith("could not migrate the database (127.0.0.1:1/emsd): ")
    assert sentence.endswith("; try again when the database answers")


def test_standard_output_of_a_new_token_is_the_token_alone(database_url: str) -> None:
    answer = emsd("token", "create", "scada", "--database-url", database_url)
    assert answer.returncode == 0
    assert re.fullmatch(r"emsd_\S+\n", answer.stdout)
