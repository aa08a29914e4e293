"""The demo's verdict: 0.5 % of the truth plus one count of the counter, and nothing lost."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from emsd.cli.demo.verdict import Comparison, Verdict, verdict_table
from emsd.store.audit import PollTotals

POLLS = PollTotals(expected=10, ok=10, partial=0, failed=0, skipped=0)


def comparison(measured_kwh: float | None, true_kwh: float = 100.0, count_kwh: float = 0.1) -> Comparison:
    return Comparison("incomer", "import", measured_kwh, true_kwh, count_kwh)


@pytest.mark.parametrize(
    ("measured_kwh", "right"),
    [(100.0, True), (100.59, True), (99.41, True), (100.61, False), (99.39, False), (0.0, False), (None, False)],
)
def test_an_error_may_be_half_a_percent_plus_one_count(measured_kwh: float | None, right: bool) -> None:
    assert comparison(measured_kwh).right is right


def verdict(*comparisons: Comparison, lost: int = 0, missing_messages: int = 0, quarantined: int = 0) -> Verdict:
    return Verdict(datetime(2026, 1, 1, tzinfo=UTC), comparisons, lost, 0, missing_messages, 5, quarantined, POLLS)


def test_one_wrong_meter_or_one_lost_reading_makes_the_verdict_wrong() -> None:
    assert verdict(comparison(100.0)).right
    assert not verdict(comparison(100.0), comparison(102.0)).right
    assert not verdict(comparison(100.0), lost=1).right
    assert not verdict(comparison(100.0), missing_messages=1).right
    assert not verdict(comparison(100.0), quarantined=1).right
    assert not verdict().right, "nothing compared is nothing proved"


def test_the_table_shows_every_meter_and_leaves_out_a_direction_in_which_nothing_flowed() -> None:
    rows = [
        comparison(100.0),
        Comparison("incomer", "export", 0.0, 0.0, 0.1),
        Comparison("pv", "export", 0.0, 0.0, 0.001),
        Comparison("dead", "import", None, 3.0, 0.1),
    ]
    console = Console(width=140, file=io.StringIO())
    with console.capture() as capture:
        console.print(verdict_table(rows, "since noon"))
    lines = [line.split("│") for line in capture.get().splitlines() if "│" in line]
    shown = {(cells[1].strip(), cells[2].strip(), cells[-2].strip()) for cells in lines}
    assert ("incomer", "import", "right") in shown
    assert ("pv", "export", "right") in shown
    assert ("dead", "import", "wrong") in shown
    assert not any(meter == "incomer" and direction == "export" for meter, direction, _ in shown)
