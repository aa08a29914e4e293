"""`emsd recompute` as a person uses it: a rating was wrong, it is put right, and history follows when asked to."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from asyncio.subprocess import PIPE
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from emsd.accounting import PlantAccounting
from emsd.cli import app
from emsd.plant.loader import load_plant
from emsd.readings import reading_of
from emsd.store.plant import sync_plant
from emsd.store.pool import Pool, open_pool
from emsd.store.readings import ReadingWriter
from tests.conftest import wait_for

BEGIN = datetime(2026, 3, 2, 7, 0, tzinfo=UTC)
PLANT = """\
site: {number: 3, name: Works, time_zone: Europe/Berlin, carbon_region: none}
areas: [{key: hall, name: Hall}]
assets: [{key: press, name: Press, kind: process_tool, area: hall, rated_power_kw: %s}]
connections: [{key: gateway, kind: modbus_tcp, host: 127.0.0.1}]
meters:
  - {key: press-1, name: Press 1, asset: press, profile: eastron_sdm630, connection: gateway, unit_id: 1}
  - {key: press-2, name: Press 2, asset: press, profile: eastron_sdm630, connection: gateway, unit_id: 2}
"""
VIRTUAL = "virtual_meters: [{key: both, name: Both, asset: press, expression: press-1 + press-2}]"


async def fill(plant: Path, database_url: str) -> None:
    """Two hours of two presses; the first takes 3 kWh a minute in the second hour, more than 80 kW."""
    loaded = load_plant(plant, environ={})
    async with open_pool(database_url) as pool:
        numbers = await sync_plant(pool, loaded.plant, loaded.profiles)
        energy_kwh = dict.fromkeys(loaded.meters_by_key, 500.0)
        readings = []
        for minute in range(120):
            when = BEGIN + timedelta(minutes=minute)
            energy_kwh = {
                key: before + (3.0 if key == "press-1" and minute >= 60 else 1.0) for key, before in energy_kwh.items()
            }
            readings += [reading_of(numbers[key], when, {"energy_import_kwh": kwh}) for key, kwh in energy_kwh.items()]
        async with ReadingWriter(pool) as writer:
            await writer.write(readings)
        await PlantAccounting(pool, loaded, numbers).run_until_clean()


@pytest.fixture
def plant(tmp_path: Path, database_url: str) -> Path:
    path = tmp_path / "plant.yaml"
    path.write_text(PLANT % 80)
    wait_for(fill(path, database_url))
    return path


def emsd(plant: Path, database_url: str, *arguments: str) -> Result:
    return CliRunner().invoke(
        app, ["recompute", "--plant", str(plant), "--database-url", database_url, *arguments], env={"COLUMNS": "160"}
    )


def test_a_rating_put_right_is_brought_into_history_by_one_command(plant: Path, database_url: str) -> None:
    unchanged = emsd(plant, database_url, "--from", "2026-03-02", "--to", "2026-03-03")
    assert unchanged.exit_code == 0, unchanged.output
    assert "the energy of every meter is what it was" in unchanged.stdout
    assert "all history was made by today's rules" in emsd(plant, database_url, "--list").stdout

    plant.write_text(PLANT % 300)
    listed = emsd(plant, database_url, "--list")
    # Berlin is an hour ahead.
    assert re.search(
        r"press-1 .*2026-03-02 08:00 .*2026-03-02 09:45 .* 8 .*max_power_kw 80.0 -> 300.0", listed.stdout
    ), listed.stdout
    done = emsd(plant, database_url, "--from", "2026-03-02", "--to", "2026-03-03", "--meter", "press-1")
    assert done.exit_code == 0, done.output
    changed = [line for line in done.stdout.splitlines() if "press-" in line]
    assert len(changed) == 1
    assert "press-1" in changed[0]
    assert "239.000" in changed[0]
    left = emsd(plant, database_url, "--list").stdout
    assert "press-2" in left
    assert "press-1" not in left


def test_what_cannot_be_done_is_refused_in_one_sentence(plant: Path, database_url: str) -> None:
    plant.write_text(PLANT % 80 + VIRTUAL)
    for arguments, sentence in (
        ((), "--from is missing"),
        (("--from", "2026-03-03", "--to", "2026-03-02"), "is not before --to"),
        (("--from", "2026-03-02", "--meter", "press-9"), "has no meter press-9"),
        (("--from", "2026-03-02", "--meter", "both"), "both is a virtual meter, which follows"),
        (("--from", "2999-03-02"), "has not come yet"),
    ):
        refused = emsd(plant, database_url, *arguments)
        assert refused.exit_code == 2, refused.output
        assert sentence in refused.stderr
        assert "Traceback" not in refused.output


async def somebody_waits_for_a_lock(pool: Pool) -> None:
    """Return when a session of this database waits for a lock."""
    waiting = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
    )
    async with asyncio.timeout(30):
        while not await pool.fetchval(waiting):  # noqa: ASYNC110 - the database knows
            await asyncio.sleep(0.05)


async def test_ctrl_c_ends_it_in_seconds_with_whole_pieces_and_whole_tiers(plant: Path, database_url: str) -> None:
    """Of the Monday nothing can be written meanwhile, nor of the Thursday, which ends the stretch that begins there."""
    plant.write_text(PLANT % 300)
    loaded = load_plant(plant, environ={})
    async with open_pool(database_url) as pool:
        numbers = await sync_plant(pool, loaded.plant, loaded.profiles)
        async with ReadingWriter(pool) as writer:
            await writer.write(
                [
                    reading_of(numbers[key], BEGIN + timedelta(days=day, minutes=n), {"energy_import_kwh": 1000.0 + n})
                    for key in ("press-1", "press-2")
                    for day in (3, 4)
                    for n in range(60)
                ]
            )
        await PlantAccounting(pool, loaded, numbers).run_until_clean()
        await pool.execute("UPDATE interval_15m SET version = NULL, computed_at = '2000-01-01'")
        await pool.execute("UPDATE interval_1d SET computed_at = '2000-01-01'")
        chunk = await pool.fetchval("SELECT tableoid::regclass::text FROM interval_1m ORDER BY bucket LIMIT 1")
        arguments = [
            "--plant",
            str(plant),
            "--database-url",
            database_url,
            "--from",
            "2026-03-02",
            "--to",
            "2026-03-07",
        ]
        async with pool.acquire() as connection:
            locked = connection.transaction()
            await locked.start()
            await connection.execute(f"LOCK TABLE {chunk} IN SHARE MODE")
            command = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "emsd", "recompute", *arguments, stdout=PIPE, stderr=PIPE
            )
            await somebody_waits_for_a_lock(pool)
            command.send_signal(signal.SIGINT)
            async with asyncio.timeout(30):
                said, errors = (each.decode() for each in await command.communicate())
            await locked.rollback()
        assert command.returncode == 1, errors
        assert re.search(r"^stopped: 1 of 5 pieces are done, 4 withdrawn$", said, re.MULTILINE), said
        assert "Traceback" not in errors
        assert await pool.fetchval("SELECT count(*) FROM recomputation") == 0
        assert await pool.fetchval("SELECT count(*) FROM dirty_day") == 0
        for table in ("interval_15m", "interval_1d"):
            anew = await pool.fetch(
                "SELECT DISTINCT (bucket AT TIME ZONE 'Europe/Berlin')::date::text AS day, meter_id"
                f" FROM {table} WHERE computed_at > '2000-01-01' ORDER BY 1, 2"
            )
            assert [tuple(row) for row in anew if row["day"] != "2026-03-05"] == [
                ("2026-03-06", meter_id) for meter_id in sorted({*numbers.values()})
            ], table
