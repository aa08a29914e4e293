"""The table of faults in the documentation: every fault has a row, and every row is held by tests that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from emsd.collector import MeterState

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "faults.md"
COLUMNS: Final = ("fault", "what emsd does", "state", "counted as", "log", "test")

FAULTS: Final = (
    "late reply",
    "transaction id never echoed",
    "wrong unit answering",
    "exceptions 1, 2, 3, 4, 5, 6, 10, 11",
    "busy device",
    "half-open TCP",
    "single-client device",
    "gap exception",
    "start-mid-value rejection",
    "word-swapped meter",
    "sentinel of each vendor",
    "frozen values",
    "garbage burst",
    "out-of-range value",
    "clock jump backwards",
    "clock jump forwards",
    "clock jump backwards and forwards",
    "broker restart",
    "duplicate and reordered messages",
    "retained old message",
    "malformed payloads of ten kinds",
    "malformed payloads, fuzzed",
    "database restart",
    "database slow",
    "disk full for the spool",
    "corrupted spool file",
    "kill -9 at random moments",
)


@dataclass(frozen=True)
class Row:
    fault: str
    does: str
    state: str
    counted: str
    log: str
    tests: str

    def quoted(self, cell: str) -> list[str]:
        return re.findall(r"`([^`]+)`", getattr(self, cell))


def table() -> Iterator[Row]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    assert cells[0] == COLUMNS
    assert set("".join(cells[1])) == {"-"}
    for row in cells[2:]:
        assert len(row) == len(COLUMNS), row
        yield Row(*row)


ROWS: Final = tuple(table())


@cache
def collected_from(path: Path) -> frozenset[str]:
    """Return the names under which pytest collects the functions of a module: those that nothing below replaces."""
    assert path.name.startswith("test_")
    module = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    names = [node.name for node in functions]
    assert len(names) == len(set(names)), f"{path.name} has two functions of one name"
    return frozenset(node.name for node in functions if node.name.startswith("test_") and not is_left_out(node))


def is_left_out(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    marks = (ast.unparse(decorator) for decorator in function.decorator_list)
    return any(re.match(r"pytest\.(fixture|mark\.(skip|skipif|xfail))\b", mark) for mark in marks)


@cache
def words_of_the_code() -> frozenset[str]:
    """Return every string constant of the service and the collectors, and the names of their errors as kinds."""
    words: set[str] = set()
    for folder in ("src/emsd", "collectors"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    words.add(node.value)
                elif isinstance(node, ast.ClassDef):
                    words.add(re.sub(r"(?<!^)(?=[A-Z])", "_", node.name).lower())
    return frozenset(words)


@cache
def tables_of_the_database() -> frozenset[str]:
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "migrations").glob("*.sql"))
    return frozenset(re.findall(r"CREATE TABLE (\w+)", text))


def has_metric(name: str) -> bool:
    """Whether a metric's name is written in the code, whole or as `prefix` and `rest` that it is put together of."""
    base = name.removesuffix("_total")
    words = words_of_the_code()
    return any(
        base == prefix or (base.startswith(f"{prefix}_") and base.removeprefix(f"{prefix}_") in words)
        for prefix in (base, "emsd_ingest", "emsd_spool", "emsd_accounting", "emsd_plan", "emsd_endpoint")
        if prefix != base or base in words
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_a_row(fault: str) -> None:
    assert [row for row in ROWS if row.fault.startswith(fault)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault)
def test_every_row_is_held_by_tests_that_exist(row: Row) -> None:
    named = row.quoted("tests")
    assert named
    assert row.tests == ", ".join(f"`{each}`" for each in named)
    for each in named:
        path, _, name = each.partition("::")
        assert (ROOT / path).is_file(), path
        assert name in collected_from(ROOT / path), each


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault)
def test_what_a_row_says_a_person_sees_is_in_the_code(row: Row) -> None:
    assert set(row.quoted("state")) <= {state.value for state in MeterState}
    for word in row.quoted("counted"):
        exception = re.fullmatch(r"exception_(\d+)", word)
        assert (
            (exception is not None and int(exception[1]) in range(1, 12))
            or (has_metric(word) if word.startswith("emsd_") else word in words_of_the_code())
            or word in tables_of_the_database()
        ), word
    for event in row.quoted("log"):
        assert event in words_of_the_code(), event


def test_no_fault_is_described_twice() -> None:
    faults = [row.fault for row in ROWS]
    assert len(faults) == len(set(faults))
