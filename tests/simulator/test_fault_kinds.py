"""The kinds of faults: each stands in the documentation as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from emsd.errors import ConfigurationError
from simulator import DeviceFault
from simulator.fault_kinds import KINDS, Knowable

PAGE = Path(__file__).resolve().parents[2] / "docs" / "simulator-faults.md"


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_stands_on_the_page_with_its_parameters(name: str) -> None:
    kind = KINDS[name]
    (row,) = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}`")]
    _, first, what, parameters, knowable, _ = (cell.strip() for cell in row.split("|"))
    assert ("(connection)" in first) == kind.of_connection
    assert what == kind.what
    assert knowable == kind.knowable.value.replace("_", " ")
    assert [each.split("`")[1] for each in parameters.split(", ") if "`" in each] == [
        each.name for each in kind.parameters
    ]


def test_every_word_for_what_can_be_known_is_explained_and_used() -> None:
    page = PAGE.read_text(encoding="utf-8")
    of_meters_without_a_counter = {Knowable.NOTHING}
    assert {each.knowable for each in KINDS.values()} | of_meters_without_a_counter == set(Knowable)
    assert all(f"\n| {each.value.replace('_', ' ')} | " in page for each in Knowable)


@pytest.mark.parametrize("name", KINDS)
def test_the_defaults_of_a_kind_are_values_that_it_takes(name: str) -> None:
    given = {key: value for key, value in KINDS[name].defaults.items() if value is not None}
    DeviceFault(name, 0, connection="a", parameters=given)
    with pytest.raises(ConfigurationError, match="has no parameter"):
        DeviceFault(name, 0, connection="a", parameters={"surely_not": 1.0})
