"""`emsd recompute` as a person uses it: a rating was wrong, it is put right, and history follows when asked to."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from emsd.accounting import PlantAccounting
from emsd.cli import app
from emsd.plant.loader import load_plant
from emsd.readings import reading_of
from emsd.store.plant import sync_plant
from emsd.store.pool import open_pool
from emsd.store.readings import ReadingWriter

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


async def fill(plant: Path, database_url: str) -> None:
    """Two hours of two presses; the first takes 3 kWh a minute in the second hour, more than 80 kW."""
    loaded = load_plant(plant, environ={})
    async with open_pool(database_url) as pool:
        numbers = await sync_plant(pool, loaded.plant, loaded.profiles)
        async with ReadingWriter(pool) as writer:
            energy_kwh = dict.fromkeys(numbers, 500.0)
            for minute in range(120):
                when = BEGIN + timedelta(minutes=minute)
                energy_kwh = {
                    key: before + (3.0 if key == "press-1" and minute >= 60 else 1.0)
                    for key, before in energy_kwh.items()
                }
                await writer.write(
                    [reading_of(numbers[key], when, {"energy_import_kwh": kwh}) for key, kwh in energy_kwh.items()]
                )
        await PlantAccounting(pool, loaded, numbers).run_until_clean()


@pytest.fixture
def plant(tmp_path: Path, database_url: str) -> Path:
    path = tmp_path / "plant.yaml"
    path.write_text(PLANT % 80)
    asyncio.run(fill(path, database_url))
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
    for arguments, sentence in (
        ((), "--from is missing"),
        (("--from", "2026-03-03", "--to", "2026-03-02"), "is not before --to"),
        (("--from", "2026-03-02", "--meter", "press-9"), "has no meter press-9"),
    ):
        refused = emsd(plant, database_url, *arguments)
        assert refused.exit_code == 2, refused.output
        assert sentence in refused.stderr
        assert "Traceback" not in refused.output
