"""Tables as files, read again by somebody else's reader."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet
import pytest

from emsd import __version__
from emsd.errors import ExportError
from emsd.export import Column, ColumnKind, Row, TableFormat, TableSchema, encode, in_batches, rows_at_once
from emsd.export.files import whole_file

T0 = datetime(2026, 3, 29, 0, 59, 59, 999_999, tzinfo=UTC)
TABLE = TableSchema(
    "things",
    (
        Column("time", ColumnKind.INSTANT, title="When"),
        Column("from", ColumnKind.SECOND),
        Column("day", ColumnKind.DAY),
        Column("meter", ColumnKind.KEY, choices=("press", "größe, 2")),
        Column("note", ColumnKind.TEXT),
        Column("power_kw", ColumnKind.REAL, "kW", "Power"),
        Column("energy_kwh", ColumnKind.DOUBLE, "kWh"),
        Column("count", ColumnKind.INTEGER, "1"),
    ),
    {"site": "Größe", "time_zone": "Europe/Berlin"},
)
REAL = 412.29998779296875  # what a driver makes of the 32 bits of 412.3
ROWS: list[Row] = [
    (T0, T0.replace(second=0, microsecond=0), date(2026, 3, 29), "press", 'said "no",\r\nthen', REAL, 0.1, 2**53 + 1),
    (T0 + timedelta(microseconds=1), T0.replace(second=0, microsecond=0), None, "größe, 2", "", -0.5, 1e16, 0),
    (None, None, None, None, None, None, None, None),
    (T0, None, None, "press", "x", float("nan"), float("nan"), -1),
]


async def whole(table_format: TableFormat, schema: TableSchema, rows: list[Row]) -> bytes:
    return b"".join([piece async for piece in encode(table_format, schema, in_batches(schema, rows))])


def read(table_format: TableFormat, file: bytes) -> pa.Table:
    if table_format is TableFormat.PARQUET:
        return pyarrow.parquet.read_table(io.BytesIO(file))
    return pyarrow.ipc.open_stream(file).read_all()


async def test_csv_is_rfc_4180_with_names_and_empty_cells_for_null() -> None:
    file = await whole(TableFormat.CSV, TABLE, ROWS)
    lines = file.decode("utf-8").split("\r\n")
    assert lines[0] == "time,from,day,meter,note,power_kw,energy_kwh,count"
    assert lines[-1] == ""
    assert ",,,,,,," in lines
    header, *rows = csv.reader(io.StringIO(file.decode("utf-8"), newline=""), strict=True)
    assert rows == [
        [
            "2026-03-29T00:59:59.999999+00:00", "2026-03-29T00:59:00+00:00", "2026-03-29", "press",
            'said "no",\r\nthen', "412.3", "0.1", "9007199254740993",
        ],
        [
            "2026-03-29T01:00:00.000000+00:00", "2026-03-29T00:59:00+00:00", "", "größe, 2", "", "-0.5", "1e+16", "0",
        ],
        [""] * len(header),
        ["2026-03-29T00:59:59.999999+00:00", "", "", "press", "x", "", "", "-1"],
    ]  # fmt: skip
    instants = {len(row[0]) for row in rows if row[0]}
    assert len(instants) == 1, "a reader guesses the format of a column from its first lines"


async def test_another_reader_finds_the_same_values_and_times_in_the_csv() -> None:
    file = await whole(TableFormat.CSV, TABLE, ROWS[:2])
    options = pyarrow.csv.ParseOptions(newlines_in_values=True)
    table = pyarrow.csv.read_csv(io.BytesIO(file), parse_options=options).to_pydict()
    assert table["energy_kwh"] == [0.1, 1e16]
    assert table["power_kw"] == [412.3, -0.5]
    # pyarrow takes instants with an offset in the first column for what they are.
    assert table["from"] == [T0.replace(second=0, microsecond=0)] * 2


@pytest.mark.parametrize("table_format", [TableFormat.PARQUET, TableFormat.ARROW])
async def test_parquet_and_arrow_keep_types_values_units_and_null(table_format: TableFormat) -> None:
    table = read(table_format, await whole(table_format, TABLE, ROWS))
    assert table.num_rows == len(ROWS)
    types = {field.name: field.type for field in table.schema}
    assert types == {
        "time": pa.timestamp("us", tz="UTC"),
        "from": pa.timestamp("us", tz="UTC"),
        "day": pa.date32(),
        "meter": pa.dictionary(pa.int32(), pa.string()),
        "note": pa.string(),
        "power_kw": pa.float32(),
        "energy_kwh": pa.float64(),
        "count": pa.int64(),
    }
    found = [tuple(row.values()) for row in table.to_pylist()]
    assert found[:3] == ROWS[:3]
    # Not a number is no value: NULL, neither 0 nor NaN.
    assert found[3] == (*ROWS[3][:5], None, None, -1)
    assert table.column("power_kw").null_count == 2
    assert table.schema.field("power_kw").metadata == {b"emsd.unit": b"kW", b"emsd.title": b"Power"} | {
        key: value
        for key, value in (table.schema.field("power_kw").metadata or {}).items()
        if key == b"PARQUET:field_id"
    }
    facts = table.schema.metadata
    assert facts[b"emsd.table"] == b"things"
    assert facts[b"emsd.site"].decode() == "Größe"
    assert facts[b"emsd.time_zone"] == b"Europe/Berlin"
    assert facts[b"emsd.software"].decode() == f"emsd {__version__}"


@pytest.mark.parametrize("table_format", list(TableFormat))
async def test_a_table_without_rows_is_a_whole_file(table_format: TableFormat) -> None:
    file = await whole(table_format, TABLE, [])
    if table_format is TableFormat.CSV:
        assert file == b"time,from,day,meter,note,power_kw,energy_kwh,count\r\n"
    else:
        table = read(table_format, file)
        assert (table.num_rows, table.column_names) == (0, [column.name for column in TABLE.columns])


@pytest.mark.parametrize("table_format", list(TableFormat))
async def test_many_batches_and_row_groups_make_one_table(table_format: TableFormat) -> None:
    schema = TableSchema("long", (Column("n", ColumnKind.INTEGER), Column("meter", ColumnKind.KEY, choices=("a", "b"))))
    rows: list[Row] = [(n, "ab"[n % 2]) for n in range(300_000)]
    pieces = [piece async for piece in encode(table_format, schema, in_batches(schema, rows))]
    assert len(pieces) > 2
    file = b"".join(pieces)
    table = pyarrow.csv.read_csv(io.BytesIO(file)) if table_format is TableFormat.CSV else read(table_format, file)
    if table_format is TableFormat.PARQUET:
        groups = pyarrow.parquet.ParquetFile(io.BytesIO(file)).metadata
        assert groups.num_row_groups == 3
    assert table.column("n").to_pylist() == [n for n, _ in rows]
    assert table.column("meter").to_pylist() == [key for _, key in rows]


async def test_an_instant_of_another_zone_is_the_same_instant() -> None:
    schema = TableSchema("t", (Column("time", ColumnKind.INSTANT),))
    when = datetime(2026, 1, 1, 8, tzinfo=timezone(timedelta(hours=8)))
    table = read(TableFormat.PARQUET, await whole(TableFormat.PARQUET, schema, [(when,)]))
    assert table.column("time").to_pylist() == [datetime(2026, 1, 1, tzinfo=UTC)]
    assert b"2026-01-01T08:00:00.000000+08:00" in await whole(TableFormat.CSV, schema, [(when,)])


@pytest.mark.parametrize("table_format", [TableFormat.PARQUET, TableFormat.ARROW])
async def test_a_key_that_is_no_choice_is_a_mistake_and_no_null(table_format: TableFormat) -> None:
    schema = TableSchema("t", (Column("meter", ColumnKind.KEY, choices=("a",)),))
    with pytest.raises(KeyError):
        await whole(table_format, schema, [("b",)])


def test_only_a_key_has_choices() -> None:
    with pytest.raises(ValueError, match="choices"):
        Column("note", ColumnKind.TEXT, choices=("a",))


def test_a_wide_table_is_taken_in_smaller_batches() -> None:
    narrow = TableSchema("n", (Column("a", ColumnKind.REAL),))
    wide = TableSchema("w", tuple(Column(f"a{n}", ColumnKind.REAL) for n in range(90)))
    assert rows_at_once(wide) < 100 < rows_at_once(narrow)


WITHOUT_PYARROW = """
import asyncio, sys
sys.modules["pyarrow"] = None  # what an import of a package that is not there comes to
from emsd.errors import FormatUnavailable
from emsd.export import *
schema = TableSchema("t", (Column("n_kwh", ColumnKind.DOUBLE),))
async def file(table_format):
    return b"".join([piece async for piece in encode(table_format, schema, in_batches(schema, [(1.5,), (None,)]))])
print(asyncio.run(file(TableFormat.CSV)))
for each in ("parquet", "arrow"):
    try:
        asyncio.run(file(TableFormat(each)))
    except FormatUnavailable as error:
        print(error)
"""


def test_csv_needs_no_pyarrow_and_the_others_name_the_extra() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_PYARROW], capture_output=True, text=True, check=True)
    csv_file, parquet, arrow = done.stdout.splitlines()
    assert csv_file == repr(b'n_kwh\r\n1.5\r\n""\r\n')
    assert parquet.startswith("parquet needs pyarrow")
    assert "pip install 'emsd[export]'" in parquet
    assert arrow.startswith("arrow needs pyarrow")


def test_a_file_that_was_not_finished_is_not_there_and_the_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with whole_file(path) as file:
        file.write(b"old")
    with pytest.raises(RuntimeError), whole_file(path) as file:  # noqa: PT012 - the block is what fails
        file.write(b"half of the n")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    with whole_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ExportError, match=r"nowhere/table.csv cannot be written \(No such file"),
        whole_file(tmp_path / "nowhere" / "table.csv"),
    ):
        pass
