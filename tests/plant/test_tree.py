from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from emsd.plant.tree import ancestors, children, circles

PARENTS = {"incomer": None, "feeder": "incomer", "lamp": "feeder", "fan": "feeder", "pv": "incomer", "island": None}


def test_ancestors_come_nearest_first() -> None:
    assert ancestors("lamp", PARENTS) == ("feeder", "incomer")
    assert ancestors("island", PARENTS) == ()


def test_children_come_in_order() -> None:
    assert children("incomer", PARENTS) == ("feeder", "pv")
    assert children(None, PARENTS) == ("incomer", "island")


def test_a_circle_is_found_once_and_nothing_runs_forever() -> None:
    parents = {"a": "b", "b": "c", "c": "b", "d": "d", "e": None}
    assert circles(parents) == [("b", "c"), ("d",)]
    assert ancestors("a", parents) == ("b", "c")


@given(st.dictionaries(st.integers(0, 12).map(str), st.none() | st.integers(0, 12).map(str)))
def test_every_key_has_one_top_above_it_or_lies_below_a_circle(parents: dict[str, str | None]) -> None:
    parents = {key: parent if parent in parents else None for key, parent in parents.items()}
    in_circles = {key for circle in circles(parents) for key in circle}
    tops = set(children(None, parents))
    for key in parents:
        above = {key, *ancestors(key, parents)}
        assert len(above & tops) == (0 if above & in_circles else 1)
