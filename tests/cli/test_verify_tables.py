"""What `emsd simulate verify` shows of what it compared."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from emsd.cli.simulate.comparing import Compared, Fault
from emsd.cli.simulate.tables import document, show

BEGIN, END = datetime(2026, 6, 3, 8, tzinfo=UTC), datetime(2026, 6, 3, 9, tzinfo=UTC)
ROWS = [
    Compared("incomer", "import", 100.0, 100.01, 0.0, 1.0, 0.01, faults=(1,)),
    Compared("feeder", "import", 50.0, 49.0, 0.0, 0.9, 0.01, faults=(2,), is_knowable=False),
]
FAULTS = [
    Fault(1, "no_reply", ("incomer",), frozenset({"incomer"})),
    Fault(2, "counter_reset", ("feeder",), frozenset()),
    Fault(3, "freeze", ("weather",), frozenset()),
]


def test_a_kind_of_fault_under_which_nothing_was_compared_has_no_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(ROWS, FAULTS, BEGIN, END)
    assert {each["kind"]: each["verdict"] for each in found["faults"]} == {
        "no_reply": "right",
        "counter_reset": "flagged",
        "freeze": None,
    }
    show(ROWS, FAULTS, BEGIN, END)
    lines = capsys.readouterr().out.splitlines()
    (freeze,) = (line for line in lines if line.startswith("│ freeze"))
    assert "no meter that measures energy" in freeze
    assert "right" not in freeze
    assert lines[-1] == "1 of 2 right, 1 flagged, 0 wrong"
