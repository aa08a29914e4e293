"""`emsd production`: a list of counts goes in as a whole, or is refused with every fault at its line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner

from emsd.cli import app
from emsd.errors import PlantError
from emsd.plant.production import Product, Production
from emsd.plant.production_csv import read_counts_csv
from emsd.store.production import sync_production

GOOD = """\
external_id;product;stage;from;to;units;good_units;note
mes-1;panel;array;2026-05-04T00:00:00+08:00;2026-05-05T00:00:00+08:00;1000,5;950;first shift
mes-2;panel;;2026-05-04T00:00:00Z;2026-05-05T00:00:00Z;10;;
"""
BAD = """\
external_id,product,from,to,units,good_units,withdrawn
mes-1,panel,2026-05-04T00:00:00,2026-05-05T00:00:00Z,10,,
,panel,2026-05-04T00:00:00Z,2026-05-03T00:00:00Z,10,11,perhaps
mes-1,panel,2026-05-04T00:00:00Z,2026-05-05T00:00:00Z,-1,,
"""


@pytest.fixture
def site_url(database_url: str) -> str:
    async def fill() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute(
            "INSERT INTO site (site_id, name, time_zone, carbon_region) VALUES (1, 'W', 'UTC', 'X')"
        )
        panel = Product(key="panel", name="Panel", area_m2=1, passes={"array": 1})
        await sync_production(connection, 1, Production(products=(panel,)))
        await connection.close()

    asyncio.run(fill())
    return database_url


def test_a_list_is_imported_once_and_shown(site_url: str, tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_text(GOOD)
    dry = CliRunner().invoke(app, ["production", "import", str(path), "--database-url", site_url, "--dry-run"])
    assert dry.stdout == f"{path}: 2 counts, nothing written\n"
    arguments = ["production", "import", str(path), "--database-url", site_url, "--author", "li"]
    assert CliRunner().invoke(app, arguments).stdout == "2 added, 0 corrected, 0 known already\n"
    assert CliRunner().invoke(app, arguments).stdout == "0 added, 0 corrected, 2 known already\n"
    path.write_text(GOOD.replace("1000,5", "1000"))
    assert CliRunner().invoke(app, arguments).stdout == "0 added, 1 corrected, 1 known already\n"
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(
        app, ["production", "list", "--database-url", site_url, "--days", "4000"]
    )
    assert shown.exit_code == 0, shown.output
    for words in ("mes-1", "whole line", "950", "first shift", "2026-05-03 16:00 UTC"):
        assert words in shown.stdout
    path.write_text(GOOD.replace("panel", "tablet"))
    refused = CliRunner().invoke(app, arguments)
    assert (refused.exit_code, refused.stderr) == (1, "there is no product 'tablet'; products are: panel\n")


def test_every_fault_of_a_list_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_text(BAD)
    with pytest.raises(PlantError) as caught:
        read_counts_csv(path)
    told = [str(fault).removeprefix(f"{path}:") for fault in caught.value.faults]
    assert told == [
        "2: from '2026-05-04T00:00:00' is no instant; write it with its offset, such as 2026-01-31T08:00:00+08:00",
        "3: external_id is missing; fill it in",
        "3: good_units is more than units; units include the good ones",
        "3: to is not after from; check both",
        "3: withdrawn 'perhaps' is neither yes nor no; write yes or no",
        "4: external_id mes-1 stands in line 2 too; give each count its own",
        "4: units '-1' is no number from 0 to 1e+12; write units as a number",
    ]
    path.write_text("external_id,product,from,to,unit\n")
    with pytest.raises(PlantError, match='did you mean "units"'):
        read_counts_csv(path)
    result = CliRunner().invoke(app, ["production", "import", str(path), "--database-url", "postgresql://nowhere/x"])
    assert result.exit_code == 2
    assert "nothing was started" in result.stderr


TIMES = "2026-05-04T00:00:00Z{0}2026-05-05T00:00:00Z"


@pytest.mark.parametrize(
    ("separator", "cells", "fault"),
    [
        (";", "12.000", "2: units '12.000' may be 12000 or a fraction; write 12000 or 12.0000, without separators"),
        (";", "12,000", "2: units '12,000' may be 12000 or a fraction"),
        (",", '"1,234,567"', "2: units '1,234,567' may be 1234567 or a fraction"),
        # Without quotes the thousands would be good units.
        (",", "1,000", "2: the row has 6 cells under 5 columns"),
        (",", "1_000", "2: units '1_000' is no number from 0 to 1e+12"),
        (",", "nan", "2: units 'nan' is no number"),
        (",", "2e12", "2: units '2e12' is no number from 0 to 1e+12"),
    ],
)
def test_a_number_that_may_be_two_is_refused(tmp_path: Path, separator: str, cells: str, fault: str) -> None:
    path = tmp_path / "counts.csv"
    header = separator.join(("external_id", "product", "from", "to", "units"))
    path.write_text(f"{header}\n{separator.join(('a', 'panel', TIMES.format(separator), cells))}\n")
    with pytest.raises(PlantError) as caught:
        read_counts_csv(path)
    (found,) = caught.value.faults
    assert str(found).removeprefix(f"{path}:").startswith(fault)


@pytest.mark.parametrize(
    ("separator", "cell", "units"), [(";", "1000,5", 1000.5), (";", "0.125", 0.125), (",", "7", 7)]
)
def test_commas_and_points_are_read_as_what_they_must_be(
    tmp_path: Path, separator: str, cell: str, units: float
) -> None:
    path = tmp_path / "counts.csv"
    header = separator.join(("external_id", "product", "from", "to", "units"))
    path.write_text(f"{header}\n{separator.join(('a', 'panel', TIMES.format(separator), cell))}\n")
    assert [each["units"] for each in read_counts_csv(path)] == [units]


def test_a_stage_that_the_product_does_not_pass_is_refused_and_can_be_taken_back(site_url: str, tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    arguments = ["production", "import", str(path), "--database-url", site_url]
    path.write_text(GOOD.replace(";array;", ";aray;"))
    refused = CliRunner().invoke(app, arguments)
    assert (refused.exit_code, refused.stderr) == (1, "panel does not pass a stage 'aray'; it passes: array\n")
    path.write_text(f"external_id,product,stage,from,to,units,withdrawn\nmes-9,panel,aray,{TIMES.format(',')},1,yes\n")
    assert CliRunner().invoke(app, arguments).stdout == "1 added, 0 corrected, 0 known already\n"
